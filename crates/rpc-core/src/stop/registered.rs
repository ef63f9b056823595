//! The servers that signal handlers look after, and the handlers that run.
//!
//! A server that is taken off the list is freed only when no handler runs that may have found it.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;

use crate::stop::control::Control;

/// More servers than this at a time, in one process, are not looked after.
const MAX_SERVERS: usize = 64;

static SERVERS: [AtomicPtr<Control>; MAX_SERVERS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAX_SERVERS];

/// The server that signals stop; one of these.
static SIGNALLED: AtomicPtr<Control> = AtomicPtr::new(ptr::null_mut());

/// How many handlers run. Each says so before it looks for servers.
static HANDLERS: AtomicUsize = AtomicUsize::new(0);

/// Says that a signal handler runs: what it finds on the list is not freed before this is dropped.
/// Async-signal-safe.
pub(crate) struct InHandler(());

impl InHandler {
    pub(crate) fn enter() -> InHandler {
        HANDLERS.fetch_add(1, Ordering::SeqCst);
        InHandler(())
    }

    /// Runs `action` on every server on the list.
    pub(crate) fn each_control(&self, mut action: impl FnMut(&Control)) {
        for server in &SERVERS {
            // SAFETY: null, or a Control that is kept until no handler runs that may have found it.
            if let Some(control) = unsafe { server.load(Ordering::SeqCst).as_ref() } {
                action(control);
            }
        }
    }

    /// The server that signals stop.
    pub(crate) fn signalled(&self) -> Option<&Control> {
        // SAFETY: as above.
        unsafe { SIGNALLED.load(Ordering::SeqCst).as_ref() }
    }
}

impl Drop for InHandler {
    fn drop(&mut self) {
        HANDLERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for the handlers of other threads that may have found what was just hidden from them.
pub(crate) fn wait_for_handlers() {
    while HANDLERS.load(Ordering::SeqCst) != 0 {
        thread::yield_now();
    }
}

/// Whether signals stop this server, and not one that asked later.
pub(crate) fn is_signalled(control: &Control) -> bool {
    ptr::eq(SIGNALLED.load(Ordering::Acquire), control)
}

/// Lets signals stop this server, which is on the list, or nobody.
pub(crate) fn set_signalled(control: Option<&Arc<Control>>) {
    let signalled = control.map_or(ptr::null_mut(), |control| Arc::as_ptr(control).cast_mut());
    SIGNALLED.store(signalled, Ordering::SeqCst);
}

/// Puts a server on the list. For one thread at a time.
///
/// # Errors
///
/// When it is full.
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

/// Takes a server off the list. For one thread at a time, and not in a handler.
pub(crate) fn unregister(control: &Control) {
    let own = ptr::from_ref(control).cast_mut();
    for server in &SERVERS {
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        if server.compare_exchange(own, ptr::null_mut(), success, failure).is_ok() {
            wait_for_handlers();
            // SAFETY: it was counted when it was registered, and no handler has it any more.
            drop(unsafe { Arc::from_raw(own) });
        }
    }
}

/// In a new child, which serves for this server only: the others are its parent's. Their counts
/// stay as they are, since to change them is to copy pages.
pub(crate) fn unregister_others(control: &Control) {
    for server in &SERVERS {
        let registered = server.load(Ordering::SeqCst);
        if !registered.is_null() && !ptr::eq(registered, control) {
            server.store(ptr::null_mut(), Ordering::SeqCst);
        }
    }
}

pub(crate) fn is_empty() -> bool {
    SERVERS.iter().all(|server| server.load(Ordering::SeqCst).is_null())
}
