//! Every key and tag of the shop. No other file spells one.

use origin_sdk::{enum_id, keys};

use crate::database::Sort;

keys! {
    app "shop" version 1;

    /// A product's page. `None` is kept too: that there is no such product.
    pub(crate) key Product { id: u32 } = "product:{id}" tags [ShowsProduct { product: id }];
    /// A page of the products of a category.
    pub(crate) key CategoryPage { category: u32, sort: Sort, page: u32 } = "category:{category}:{sort}:{page}"
        tags [SortsCategory { category }];
    /// All feature flags.
    pub(crate) key Flags {} = "flags";
    /// Who a user is.
    pub(crate) key Profile { user: u32 } = "user:{user}:profile";
    /// A page of a user's orders.
    pub(crate) key OrderPage { user: u32, page: u32 } = "user:{user}:orders:{page}";

    /// On everything that shows the product: its name, its price or its stock.
    pub(crate) tag ShowsProduct { product: u32 } = "product:{product}";
    /// On everything whose order or selection depends on the names and prices in the category.
    pub(crate) tag SortsCategory { category: u32 } = "category:{category}";
}

enum_id! { Sort { Rank = "rank", Price = "price", Name = "name" } }
