//! The errors of loads and writes, as their callers see them.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::{KEY, Number, numbers};
use crate::{BoxError, LoadError, LoadErrorKind};

/// An error of a source.
#[derive(Debug, PartialEq)]
struct RowLocked(u64);

impl fmt::Display for RowLocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} is locked", self.0)
    }
}

impl Error for RowLocked {}

/// An error that wraps another one.
#[derive(Debug)]
struct Wrapper(BoxError);

impl fmt::Display for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the query failed")
    }
}

impl Error for Wrapper {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

async fn error_of(error: BoxError) -> LoadError {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    numbers.get_or_load(&KEY, async move |_, _| Err(error)).await.unwrap_err()
}

/// Prints the error and its sources, as a report does.
fn report(error: &LoadError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn the_loaders_own_error_is_found_behind_wrappers() {
    let wrapped: Vec<BoxError> = vec![
        RowLocked(7).into(),
        Wrapper(RowLocked(7).into()).into(),
        Wrapper(Wrapper(RowLocked(7).into()).into()).into(),
        Box::new(RowLocked(7)).into(),
        Arc::new(RowLocked(7)).into(),
        Arc::<dyn Error + Send + Sync>::from(BoxError::from(RowLocked(7))).into(),
        io::Error::other(RowLocked(7)).into(),
        Wrapper(io::Error::other(Arc::new(RowLocked(7))).into()).into(),
        anyhow::Error::from(RowLocked(7)).context("the query failed").into(),
        anyhow::Error::from(RowLocked(7)).context("the query failed").context("no product").into(),
        anyhow::Error::from(RowLocked(7)).reallocate_into_boxed_dyn_error_without_backtrace(),
    ];
    for error in wrapped {
        let text = format!("{error:?}");
        let error = error_of(error).await;
        assert_eq!(error.downcast_ref::<RowLocked>(), Some(&RowLocked(7)), "{text}");
        assert!(error.downcast_ref::<fmt::Error>().is_none());
        assert_eq!(report(&error).matches("row 7 is locked").count(), 1, "{text}: {}", report(&error));
    }
}

#[tokio::test]
async fn the_error_of_a_load_that_a_loader_waited_for_is_found() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let inner = numbers.clone();
    let loader = async move |_, _| {
        let locked = async |_, _| Err(io::Error::other(RowLocked(7)).into());
        let child = inner.get_or_load(&Number { id: 2 }, locked).await;
        Ok(*child.map_err(|error| anyhow::Error::from(error).context("no child"))?.value)
    };
    let error = numbers.get_or_load(&KEY, loader).await.unwrap_err();
    assert_eq!(error.downcast_ref::<RowLocked>(), Some(&RowLocked(7)));
    assert_eq!(error.downcast_ref::<LoadError>().map(LoadError::kind), Some(LoadErrorKind::Failed));
    assert_eq!(report(&error), "the loader failed: no child: the loader failed: row 7 is locked");
}

#[tokio::test]
async fn the_error_of_a_writer_is_called_one() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let error = numbers.write_through(&KEY, (), async |_, _| Err(RowLocked(7).into())).await.unwrap_err();
    assert_eq!(error.to_string(), "the writer failed: row 7 is locked");
    assert_eq!(error.downcast_ref::<RowLocked>(), Some(&RowLocked(7)));
    #[expect(clippy::panic, reason = "the panic is what is tested")]
    let panicking = async |_, _| if true { panic!("a bug in the writer") } else { Ok(1) };
    let error = numbers.write_through(&KEY, (), panicking).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (LoadErrorKind::Panicked, "the writer panicked"));
}
