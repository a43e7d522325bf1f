//! React Router's own requests.

use strata_tests::eventually;

use crate::checks::new_name;
use crate::site::Site;

/// The router in the browser reads the loaders' data at the page's path with `.data`.
pub(crate) async fn the_data_of_a_page_is_stored_and_ends_with_it(site: &Site) {
    let data = async || site.visitor().get("/products/2.data").await;
    eventually("the data is stored", async || data().await.is_hit()).await;
    let name = new_name();
    site.visitor().submit("/products/2/edit", &[("name", &name)]).await;
    eventually("the data has the new name", async || data().await.body.contains(&name)).await;
    eventually("the new data is stored", async || data().await.is_hit()).await;
    assert!(site.visitor().get("/products/2").await.body.contains("<h1>"));
}
