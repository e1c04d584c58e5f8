//! Values on their way from a device.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::{Error, Result};

/// Values that a device was asked for: what every read of a tensor gives.
///
/// They are the values at the moment of the read, whatever is done with the tensor afterwards. A device that
/// computes in host memory has them at once. A GPU works on; [`wait`](Pending::wait) blocks until
/// they are there, and a program that must not block (a page in a browser) awaits the `Pending` instead: it
/// is a future, for any executor. Several may be under way, and be looked at in any order and on any
/// thread. One that is dropped costs nothing more.
///
/// ```
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> striate_tensor::Result<()> {
/// let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0], [3], &device)?;
/// let sum = x.sum_all()?.read_scalar::<f32>();
/// // What else there is to do goes here: the device is not waited for yet.
/// let squares = x.square()?.read_vec::<f32>();
/// assert_eq!(squares.wait()?, [1.0, 4.0, 9.0]);
/// assert_eq!(sum.wait()?, 6.0);
/// # Ok(())
/// # }
/// ```
///
/// In asynchronous code:
///
/// ```
/// # use striate_tensor::{Result, Tensor};
/// async fn sum(x: &Tensor) -> Result<f32> {
///     x.sum_all()?.read_scalar().await
/// }
/// ```
#[must_use = "values that were read are looked at by `wait` or `await`"]
pub struct Pending<T>(State<T>);

enum State<T> {
    /// Known, until they are taken.
    Ready(Option<Result<T>>),
    Coming(Box<dyn Coming<T>>),
}

/// What a device owes to a read that is under way: see [`Pending::coming`].
pub trait Coming<T>: Send {
    /// As [`Future::poll`]. The device wakes the task when it is time to ask again, without help from the
    /// program: it may neither poll the device nor use it any more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>>;

    /// Blocks until the values are there.
    ///
    /// # Errors
    /// Where the device is lost.
    fn wait(self: Box<Self>) -> Result<T>;
}

impl<T> Pending<T> {
    /// Values that are there.
    pub fn ready(values: T) -> Self {
        Pending::from(Ok(values))
    }

    /// Values that a device will give.
    pub fn coming(coming: impl Coming<T> + 'static) -> Self {
        Pending(State::Coming(Box::new(coming)))
    }

    /// Whether the values were there at once. It depends on the kind of device alone: a read from a GPU says
    /// no, however far it is by now, so that what a program does by this answer is the same in every run.
    pub fn is_ready(&self) -> bool {
        matches!(self.0, State::Ready(_))
    }

    /// The values, when they are there: blocks until then.
    ///
    /// # Errors
    /// What was wrong with the read, or that the device is lost.
    pub fn wait(self) -> Result<T> {
        match self.0 {
            State::Ready(values) => values.unwrap_or_else(|| Err(taken())),
            State::Coming(coming) => coming.wait(),
        }
    }
}

impl<T: 'static> Pending<T> {
    /// What `then` makes of the values, as soon as they are there.
    pub fn and_then<U: 'static>(
        self,
        then: impl FnOnce(T) -> Result<U> + Send + 'static,
    ) -> Pending<U> {
        match self.0 {
            State::Ready(values) => {
                Pending::from(values.unwrap_or_else(|| Err(taken())).and_then(then))
            }
            State::Coming(from) => Pending::coming(AndThen { from, then: Some(then) }),
        }
    }
}

impl<T> From<Result<T>> for Pending<T> {
    /// What is known already, an error as well.
    fn from(values: Result<T>) -> Self {
        Pending(State::Ready(Some(values)))
    }
}

// Nothing in it is ever pinned.
impl<T> Unpin for Pending<T> {}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let state = &mut self.get_mut().0;
        let values = match state {
            State::Ready(values) => values.take().unwrap_or_else(|| Err(taken())),
            State::Coming(coming) => match coming.poll(cx) {
                Poll::Ready(values) => values,
                Poll::Pending => return Poll::Pending,
            },
        };
        *state = State::Ready(None);
        Poll::Ready(values)
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_ready() { "Pending(ready)" } else { "Pending(coming)" })
    }
}

/// The error of a future that is polled again after it has ended.
fn taken() -> Error {
    Error::Read { reason: "its values were taken already: a future ends once".into() }
}

struct AndThen<T, F> {
    from: Box<dyn Coming<T>>,
    then: Option<F>,
}

impl<T, U, F: FnOnce(T) -> Result<U> + Send> Coming<U> for AndThen<T, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<U>> {
        self.from.poll(cx).map(|values| match self.then.take() {
            Some(then) => values.and_then(then),
            None => Err(taken()),
        })
    }

    fn wait(self: Box<Self>) -> Result<U> {
        let AndThen { from, then } = *self;
        match then {
            Some(then) => from.wait().and_then(then),
            None => Err(taken()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    /// Comes when it was polled so many times.
    struct After(usize);

    impl Coming<usize> for After {
        fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
            if self.0 == 0 {
                return Poll::Ready(Ok(7));
            }
            self.0 -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }

        fn wait(self: Box<Self>) -> Result<usize> {
            Ok(7)
        }
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn values_come_when_the_device_says_so_and_once() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Arc::clone(&count).into();
        let mut cx = Context::from_waker(&waker);
        let mut pending = Pending::coming(After(2)).and_then(|x| Ok(x + 1));
        assert!(!pending.is_ready());
        for _ in 0..2 {
            assert!(Pin::new(&mut pending).poll(&mut cx).is_pending());
        }
        assert_eq!(Pin::new(&mut pending).poll(&mut cx), Poll::Ready(Ok(8)));
        assert_eq!(count.0.load(Relaxed), 2);
        let Poll::Ready(Err(error)) = Pin::new(&mut pending).poll(&mut cx) else {
            panic!("it ended twice")
        };
        assert!(error.to_string().contains("taken already"), "{error}");
    }

    #[test]
    fn an_error_passes_by_what_was_to_be_done_with_the_values() {
        let wrong = || Error::Read { reason: "lost".into() };
        assert_eq!(Pending::from(Err::<u8, _>(wrong())).and_then(Ok).wait(), Err(wrong()));
        assert_eq!(
            Pending::coming(After(1)).and_then(move |_| Err::<u8, _>(wrong())).wait(),
            Err(wrong())
        );
        assert_eq!(Pending::ready(3).and_then(|x| Ok(x * 2)).wait(), Ok(6));
    }
}
