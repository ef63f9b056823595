//! The list of servers that signal handlers act on, and the count of handlers that run.
//!
//! A server that is removed from the list is freed only when no handler runs that may have found
//! it.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;

use crate::stop::control::Control;

/// How many servers of one process can be on the list at a time.
const MAX_SERVERS: usize = 64;

static SERVERS: [AtomicPtr<Control>; MAX_SERVERS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAX_SERVERS];

/// How many handlers run. Each is counted before it reads the list.
static HANDLERS: AtomicUsize = AtomicUsize::new(0);

/// A signal handler that runs: servers that it finds on the list are not freed before this is
/// dropped. Async-signal-safe.
pub(crate) struct InHandler(());

impl InHandler {
    pub(crate) fn enter() -> InHandler {
        HANDLERS.fetch_add(1, Ordering::SeqCst);
        InHandler(())
    }

    /// Runs `action` on each server on the list.
    pub(crate) fn each_control(&self, mut action: impl FnMut(&Control)) {
        for server in &SERVERS {
            // SAFETY: null, or a Control that is kept until no handler runs that may have found it.
            if let Some(control) = unsafe { server.load(Ordering::SeqCst).as_ref() } {
                action(control);
            }
        }
    }
}

impl Drop for InHandler {
    fn drop(&mut self) {
        HANDLERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits until no handler runs in another thread, so that none uses what was just removed.
pub(crate) fn wait_for_handlers() {
    while HANDLERS.load(Ordering::SeqCst) != 0 {
        thread::yield_now();
    }
}

/// Whether `condition` holds for a server on the list. The look counts as a handler that runs.
pub(crate) fn any(condition: impl Fn(&Control) -> bool) -> bool {
    let mut holds = false;
    InHandler::enter().each_control(|control| holds |= condition(control));
    holds
}

/// Adds a server to the list, if it is not there. Only one thread may do this at a time.
///
/// # Errors
///
/// When the list is full.
pub(crate) fn register(control: &Arc<Control>) -> io::Result<()> {
    let own = Arc::as_ptr(control).cast_mut();
    let find = |wanted| SERVERS.iter().find(|server| server.load(Ordering::SeqCst) == wanted);
    if find(own).is_some() {
        return Ok(());
    }
    let full = || io::Error::other(format!("{MAX_SERVERS} servers use signals already"));
    let free = find(ptr::null_mut()).ok_or_else(full)?;
    free.store(Arc::into_raw(Arc::clone(control)).cast_mut(), Ordering::SeqCst);
    Ok(())
}

/// Removes a server from the list. Only one thread may do this at a time, and no handler. Blocks
/// until no handler runs.
pub(crate) fn unregister(control: &Control) {
    let own = ptr::from_ref(control).cast_mut();
    for server in &SERVERS {
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        if server.compare_exchange(own, ptr::null_mut(), success, failure).is_ok() {
            wait_for_handlers();
            // SAFETY: `register` kept this reference, and no handler uses the server any more.
            drop(unsafe { Arc::from_raw(own) });
        }
    }
}

/// Called in a new child, which serves for this server only: removes the others, which belong to
/// its parent. Their reference counts do not change, since that would copy pages.
pub(crate) fn unregister_others(control: &Control) {
    for server in &SERVERS {
        let registered = server.load(Ordering::SeqCst);
        if !registered.is_null() && !ptr::eq(registered, control) {
            server.store(ptr::null_mut(), Ordering::SeqCst);
        }
    }
}
