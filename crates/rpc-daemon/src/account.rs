//! Becoming an ordinary user after what only root may do is done, for good.

use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getgroups, getresgid, getresuid, initgroups, setgroups, setresgid,
    setresuid,
};

/// Why this process is not the user that it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// There is no such user, by name or number.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// There is no such group, by name or number.
    #[error("there is no group `{0}`")]
    NoGroup(String),
    /// The database of users or groups cannot be read.
    #[error("cannot look up `{name}`")]
    LookUp {
        /// What was looked for.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// That user, or that group, is root.
    #[error("dropping privileges to root would drop none")]
    Root,
    /// Only root may become somebody else.
    #[error("only root can become another user, and this process belongs to user {uid}")]
    NotRoot {
        /// Whose process it is.
        uid: u32,
    },
    /// The system refused one of the steps. The process has lost some of its privileges, perhaps.
    #[error("cannot {step}")]
    Drop {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The steps succeeded, and yet the process could become root again.
    #[error("the privileges that were dropped could be had again")]
    NotDropped,
}

/// A user and a group, whose rights a process is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name of the user, by which its further groups are found.
    name: CString,
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// Looks up `user`, by name or number, and `group`, by default the user's own.
    ///
    /// May block for as long as the system's sources of users do (nsswitch.conf(5)).
    ///
    /// # Errors
    ///
    /// [`AccountError`] when there is no such user or group, or when either is root: a process
    /// in the group root can write what that group can.
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

    /// The number of the user.
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// The number of the group.
    pub fn gid(&self) -> u32 {
        self.gid.as_raw()
    }

    /// Makes the whole process, with all its threads, one of this user and group, with the further
    /// groups of the user, and makes sure that there is no way back. Does nothing in a process
    /// that is this user's already, such as one that was started anew by one that had dropped its
    /// privileges.
    ///
    /// To be called after everything that needs root: binding a port below 1024, the pidfile. What
    /// is open stays open. The process writes no core files from now on (proc(5),
    /// `fs.suid_dumpable`). The order, groups before user, is that of "Setuid Demystified" (Chen,
    /// Wagner and Dean, 2002): who has given up root cannot change groups any more.
    ///
    /// # Errors
    ///
    /// [`AccountError`]. After [`Drop`](AccountError::Drop) and
    /// [`NotDropped`](AccountError::NotDropped) the process should end: it is neither root nor
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

    /// Whether all of the process's ids are those of this account, and it is not in root's group.
    fn is_assumed(&self) -> Result<bool, AccountError> {
        let user = drop_step("tell the user", getresuid())?;
        let group = drop_step("tell the group", getresgid())?;
        let groups = drop_step("tell the groups", getgroups())?;
        Ok([user.real, user.effective, user.saved] == [self.uid; 3]
            && [group.real, group.effective, group.saved] == [self.gid; 3]
            && !groups.contains(&Gid::from_raw(0)))
    }
}

fn drop_step<T>(step: &'static str, done: nix::Result<T>) -> Result<T, AccountError> {
    done.map_err(|errno| AccountError::Drop { step, source: errno.into() })
}
