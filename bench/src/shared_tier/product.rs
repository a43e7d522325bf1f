//! The value that is read: about 1 KB of JSON, as an API would return it.

use serde::{Deserialize, Serialize};

/// A product of a shop.
#[derive(Serialize, Deserialize)]
pub(super) struct Product {
    id: u64,
    name: String,
    description: String,
    price_cents: u64,
    rating: f64,
    is_in_stock: bool,
    categories: Vec<String>,
    variants: Vec<Variant>,
}

#[derive(Serialize, Deserialize)]
struct Variant {
    sku: String,
    colour: String,
    stock: u32,
}

impl Product {
    /// Returns the product of this id.
    pub(super) fn new(id: u64) -> Self {
        let variants = ["brass", "black", "white", "oak"].into_iter().zip(0..);
        let variants = variants.map(|(colour, stock)| Variant {
            sku: format!("LAMP-{id:06}-{colour}"),
            colour: colour.to_owned(),
            stock,
        });
        Self {
            id,
            name: format!("Desk lamp {id}"),
            description: "A lamp with a heavy foot, two joints and a shade that turns. ".repeat(11),
            price_cents: 4_999 + id % 100,
            rating: 4.25,
            is_in_stock: true,
            categories: ["lighting", "desk", "office"].map(str::to_owned).into(),
            variants: variants.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_about_1_kb_of_json() {
        let bytes = serde_json::to_vec(&Product::new(7)).unwrap().len();
        assert!((1_000..1_050).contains(&bytes), "{bytes}");
    }
}
