"""Confines this process while it runs an untrusted model: its memory, its network, and where it may write.

It uses what the kernel offers without root: a network namespace without interfaces (in a user namespace), and Landlock,
which denies writing outside one folder. Reading files is not limited. Python has functions for neither, so this module
makes the system calls itself.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
# The same numbers on x86-64 and ARM.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION, _RULE_PATH_BENEATH = 1, 1
# From linux/landlock.h: WRITE_FILE, then REMOVE_DIR to MAKE_SYM; REFER came with version 2, TRUNCATE with version 3.
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 13))


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_memory() -> int:
    """Let this process use the memory that is free now, and no more; return how many bytes that is."""
    free = free_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (free, free))
    return free


def free_bytes() -> int:
    """Memory that is available without swapping: of the machine, or of the container if that has less."""
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(meminfo["MemAvailable"].split()[0]) * 1024
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # not in a container, or in one without a limit
        return free
    return min(free, max(limit - used, 0))


def confine(writable: Path) -> list[str]:
    """Cut this process off from the network, and from writing outside the folder `writable`. It cannot be undone.

    Call it before threads are started. Returns a sentence for each protection that this system does not allow.
    """
    gaps = []
    try:
        _leave_network()
    except OSError as error:
        gaps.append(f"the model can use the network while it is built ({error.strerror})")
    try:
        _forbid_writing_outside(writable)
    except OSError as error:
        gaps.append(f"the model can write wherever you can while it is built (Landlock: {error.strerror})")
    return gaps


def _leave_network() -> None:
    if os.geteuid() == 0:
        _check(_LIBC.unshare(_CLONE_NEWNET))
        return
    user, group = os.geteuid(), os.getegid()
    _check(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
    # Keep the ids: programs look up who they are.
    for name, content in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(content)


def _forbid_writing_outside(writable: Path) -> None:
    version = _check(_LIBC.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _RULESET_VERSION))
    handled = _WRITE_FILE | _CHANGE_FOLDERS | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("Q", handled)
    ruleset = _check(_LIBC.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        _allow(ruleset, writable, handled)
        _allow(ruleset, Path(os.devnull), handled & (_WRITE_FILE | _TRUNCATE))
        _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _check(_LIBC.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", access, descriptor)
        _check(_LIBC.syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
