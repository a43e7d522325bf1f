//! All keys and tags of the shop. No other file contains their text.

use origin_sdk::{enum_id, keys};

use crate::database::Sort;

keys! {
    app "shop" version 1;

    /// A product's page. `None`, for a product that does not exist, is cached as well.
    pub(crate) key Product { id: u32 } = "product:{id}" tags [ShowsProduct { product: id }];
    /// A page of a category's products.
    pub(crate) key CategoryPage { category: u32, sort: Sort, page: u32 } = "category:{category}:{sort}:{page}"
        tags [SortsCategory { category }];
    /// All feature flags.
    pub(crate) key Flags {} = "flags";
    /// A user's profile.
    pub(crate) key Profile { user: u32 } = "user:{user}:profile";
    /// A page of a user's orders.
    pub(crate) key OrderPage { user: u32, page: u32 } = "user:{user}:orders:{page}";

    /// Tags every entry that shows the product's name, price or stock.
    pub(crate) tag ShowsProduct { product: u32 } = "product:{product}";
    /// Tags every entry whose order or selection depends on the names and prices in the category.
    pub(crate) tag SortsCategory { category: u32 } = "category:{category}";
}

enum_id! { Sort { Rank = "rank", Price = "price", Name = "name" } }
