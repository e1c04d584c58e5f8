//! What a session trains on.

use std::fmt;

use striate_data::Dataset;

/// Is told, from several threads, of so many training samples more that have been looked at.
type Progress<'a> = dyn Fn(usize) + Sync + 'a;

/// The samples of a session: those that it trains on, and those that it is tested on after each epoch.
///
/// A [`Dataset`] alone is one, too: training without tests.
///
/// ```no_run
/// use striate_data::Dataset;
/// use striate_train::SessionData;
///
/// let data = SessionData::new(Dataset::open("photos")?).test(Dataset::open("test-photos")?);
/// # Ok::<(), striate_data::Error>(())
/// ```
#[must_use]
pub struct SessionData<'a> {
    pub(super) train: Dataset,
    pub(super) test: Option<Dataset>,
    pub(super) progress: &'a Progress<'a>,
}

impl<'a> SessionData<'a> {
    /// Trains on these samples, and tests on none.
    pub fn new(train: Dataset) -> Self {
        SessionData { train, test: None, progress: &|_| {} }
    }

    /// Tests on these after each epoch.
    pub fn test(self, test: impl Into<Option<Dataset>>) -> Self {
        SessionData { test: test.into(), ..self }
    }

    /// Sets what is told of the first look at a large set, which takes minutes: from several threads, the
    /// number of training samples that have been looked at since the last call.
    pub fn progress<'b>(self, progress: &'b (dyn Fn(usize) + Sync + 'b)) -> SessionData<'b> {
        SessionData { train: self.train, test: self.test, progress }
    }
}

impl From<Dataset> for SessionData<'_> {
    fn from(train: Dataset) -> Self {
        SessionData::new(train)
    }
}

impl fmt::Debug for SessionData<'_> {
    /// The numbers of samples.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionData")
            .field("train", &self.train.len())
            .field("test", &self.test.as_ref().map(Dataset::len))
            .finish_non_exhaustive()
    }
}
