//! Becoming an ordinary user for good, after the steps that only root may do.

use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getgroups, getresgid, getresuid, initgroups, setgroups, setresgid,
    setresuid,
};

/// Why this process cannot become the user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// There is no such user, by name or number.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// There is no such group, by name or number.
    #[error("there is no group `{0}`")]
    NoGroup(String),
    /// The user or group database cannot be read.
    #[error("cannot look up `{name}`")]
    LookUp {
        /// The user or group that was looked up.
        name: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// The user or the group is root.
    #[error("dropping privileges to root would drop none")]
    Root,
    /// Only root can become another user.
    #[error("only root can become another user, and this process belongs to user {uid}")]
    NotRoot {
        /// The effective user id of this process.
        uid: u32,
    },
    /// The system refused one of the steps. The process may have lost some of its privileges.
    #[error("cannot {step}")]
    Drop {
        /// The step that failed.
        step: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
    /// All steps succeeded, but the process could still become root again.
    #[error("the dropped privileges can be regained")]
    NotDropped,
}

/// The user and the group that a process is to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name of the user, by which its supplementary groups are looked up.
    name: CString,
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// Looks up `user` and `group`, each by name or number; default for `group`: the user's own.
    ///
    /// Blocks for as long as the system's sources of users need (nsswitch.conf(5)).
    ///
    /// # Errors
    ///
    /// [`AccountError`] when there is no such user or group, when they cannot be looked up, or when
    /// either is root: a process in the group root can write all that this group can.
    pub fn find(user: &str, group: Option<&str>) -> Result<Account, AccountError> {
        let failed = |name: &str, errno: Errno| AccountError::LookUp {
            name: name.to_owned(),
            source: errno.into(),
        };
        let by_name = User::from_name(user).map_err(|errno| failed(user, errno))?;
        let found = match (by_name, user.parse()) {
            (None, Ok(uid)) => User::from_uid(Uid::from_raw(uid)),
            (by_name, _) => Ok(by_name),
        };
        let found = found.map_err(|errno| failed(user, errno))?;
        let found = found.ok_or_else(|| AccountError::NoUser(user.to_owned()))?;
        let gid = match group {
            None => found.gid,
            Some(group) => {
                let by_name = Group::from_name(group).map_err(|errno| failed(group, errno))?;
                let number = group.parse().ok().map(Gid::from_raw);
                let gid = by_name.map(|group| group.gid).or(number);
                gid.ok_or_else(|| AccountError::NoGroup(group.to_owned()))?
            }
        };
        if found.uid.is_root() || gid.as_raw() == 0 {
            return Err(AccountError::Root);
        }
        let name = CString::new(found.name);
        let name = name.map_err(|_| AccountError::NoUser(user.to_owned()))?;
        Ok(Account { name, uid: found.uid, gid })
    }

    /// The user id.
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// The group id.
    pub fn gid(&self) -> u32 {
        self.gid.as_raw()
    }

    /// Makes the whole process, with all its threads, run as this user and group, with the user's
    /// supplementary groups, and checks that it cannot become root again. Does nothing in a process
    /// that runs as this user already, for instance after an upgrade of a server that had dropped
    /// its privileges.
    ///
    /// Call this after everything that needs root: binding a port below 1024, creating the pidfile.
    /// Open descriptors stay open. From now on the process writes no core files (proc(5),
    /// `fs.suid_dumpable`). The order, groups before user, is that of "Setuid Demystified" (Chen,
    /// Wagner and Dean, 2002): a process that is no longer root cannot change its groups.
    ///
    /// Blocks for as long as the system's sources of groups need (nsswitch.conf(5)).
    ///
    /// # Errors
    ///
    /// [`AccountError`]. After [`Drop`](AccountError::Drop) and
    /// [`NotDropped`](AccountError::NotDropped) the process should end: it may be neither root nor
    /// the user.
    pub fn assume(&self) -> Result<(), AccountError> {
        if self.is_assumed()? {
            return Ok(());
        }
        let effective = Uid::effective();
        if !effective.is_root() {
            return Err(AccountError::NotRoot { uid: effective.as_raw() });
        }
        let (uid, gid) = (self.uid, self.gid);
        drop_step("set the groups", initgroups(&self.name, gid))?;
        drop_step("change the group", setresgid(gid, gid, gid))?;
        drop_step("change the user", setresuid(uid, uid, uid))?;
        let root = (Uid::from_raw(0), Gid::from_raw(0));
        let could_return = setresuid(root.0, root.0, root.0).is_ok()
            || setresgid(root.1, root.1, root.1).is_ok()
            || setgroups(&[root.1]).is_ok();
        if could_return || !self.is_assumed()? {
            return Err(AccountError::NotDropped);
        }
        Ok(())
    }

    /// Whether all ids of this process are those of this account, and it is not in the group root.
    fn is_assumed(&self) -> Result<bool, AccountError> {
        let user = drop_step("read the user ids", getresuid())?;
        let group = drop_step("read the group ids", getresgid())?;
        let groups = drop_step("read the groups", getgroups())?;
        Ok([user.real, user.effective, user.saved] == [self.uid; 3]
            && [group.real, group.effective, group.saved] == [self.gid; 3]
            && !groups.contains(&Gid::from_raw(0)))
    }
}

fn drop_step<T>(step: &'static str, done: nix::Result<T>) -> Result<T, AccountError> {
    done.map_err(|errno| AccountError::Drop { step, source: errno.into() })
}
