//! Every key and tag of the shop. No other file spells one.

use origin_sdk::{enum_id, keys};

use crate::database::Sort;

keys! {
    app "shop" version 1;

    /// A product's page. `None`, for no such product, is cached too.
    pub(crate) key Product { id: u32 } = "product:{id}" tags [ShowsProduct { product: id }];
    /// A page of the products of a category.
    pub(crate) key CategoryPage { category: u32, sort: Sort, page: u32 } = "category:{category}:{sort}:{page}"
        tags [SortsCategory { category }];
    /// All feature flags.
    pub(crate) key Flags {} = "flags";
    /// A user's profile.
    pub(crate) key Profile { user: u32 } = "user:{user}:profile";
    /// A page of a user's orders.
    pub(crate) key OrderPage { user: u32, page: u32 } = "user:{user}:orders:{page}";

    /// Tags everything that shows the product's name, price or stock.
    pub(crate) tag ShowsProduct { product: u32 } = "product:{product}";
    /// Tags everything whose order or selection depends on names and prices in the category.
    pub(crate) tag SortsCategory { category: u32 } = "category:{category}";
}

enum_id! { Sort { Rank = "rank", Price = "price", Name = "name" } }
