//! A namespace with its loader, a tag that the loader sets, and an invalidation of that tag.

use std::time::Duration;

use origin_sdk::{BoxError, Cache, Lifetime, LoadContext, ReadThrough, keys};

keys! {
    app "quick-start" version 1;

    /// One product's name.
    key ProductName { id: u64 } = "product:{id}:name";
    /// Tags everything of a category.
    tag Category { id: u64 } = "category:{id}";
}

/// Stands for a query of a database.
async fn load_name(suffix: &'static str, key: ProductName, context: LoadContext) -> Result<String, BoxError> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    context.tag(Category { id: key.id % 10 });
    Ok(format!("product {}{suffix}", key.id))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let cache = Cache::builder("quick-start").build().await?;
    let names: ReadThrough<ProductName, String> =
        cache.namespace(Lifetime::fresh(Duration::from_secs(60))).read_through("!", load_name);

    for _ in 0..2 {
        let name = names.get(&ProductName { id: 7 }).await?;
        println!("{} from {}", name.value, name.layer.as_str());
    }
    let receipt = cache.invalidate([Category { id: 7 }]).await;
    let name = names.get(&ProductName { id: 7 }).await?;
    println!("{} from {}, after the record {:?}", name.value, name.layer.as_str(), receipt.position);
    Ok(())
}
