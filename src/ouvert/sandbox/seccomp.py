"""Which calls of the kernel a boxed process may not make: a table, and the filter (seccomp BPF) that is made of it.

Numbers: asm/unistd_64.h (x86-64) and asm-generic/unistd.h (aarch64) of Linux 6.1; a call that is newer than the table
answers "not implemented". Everything that neither a namespace nor Landlock governs is refused here: the list of holes
is in docs/decisions/0020-a-box-or-a-refusal.md.
"""

import errno
import struct
from dataclasses import dataclass
from typing import Literal

# --- the table ---

# Name -> number on x86-64, on aarch64; None where there is no such call.
Numbers = dict[str, tuple[int | None, int | None]]

# They leave the box, or look out of it: sockets of every family, rings that make sockets, namespaces, mounts, other
# processes' memory, descriptors and priority, handles, watches of folders, tracing, the kernel itself.
REFUSED: Numbers = {
    "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "mount_setattr": (442, 442), "move_mount": (429, 429), "open_tree": (428, 428),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "move_pages": (279, 239), "migrate_pages": (256, 238),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "truncate": (76, 45), "mknod": (133, None), "mknodat": (259, 33),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "userfaultfd": (323, 282), "bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27), "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "swapon": (167, 224),
    "swapoff": (168, 225), "reboot": (169, 142), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116), "lookup_dcookie": (212, 18),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "vhangup": (153, 58), "personality": (135, 92), "nfsservctl": (180, 42),
    "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None), "_sysctl": (156, None),
}  # fmt: skip

# Programs fall back to another call, or do without: memory that no limit counts, structures the filter cannot read.
NOT_IMPLEMENTED: Numbers = {
    "clone3": (435, 435), "openat2": (437, 437), "memfd_create": (319, 279), "memfd_secret": (447, 447),
}  # fmt: skip

# Landlock does not govern them. They succeed and do nothing, so that copying and unpacking work.
PRETENDED: Numbers = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88),
}  # fmt: skip

# Refused where neither a namespace nor Landlock keeps signals within the box.
SIGNALS: Numbers = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip

NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # they type into a terminal
O_ACCMODE, O_CREATES, O_TRUNC = 0o3, 0o100 | 0o20000000, 0o1000
SET_ID = 0o6000  # a file that runs as its owner
AF_UNIX = 1
Test = Literal["has", "lacks", "is", "is not", "is not 0"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What is looked at in one argument of a call; all but "is not 0" look at its lower 32 bits."""

    argument: int
    test: Test
    value: int = 0


# Name, numbers, and the conditions that are all met by a call that is refused.
REFUSED_IF: tuple[tuple[str, tuple[int | None, int | None], tuple[Condition, ...]], ...] = (
    ("clone", (56, 220), (Condition(0, "has", NEW_NAMESPACES),)),
    ("socketpair", (53, 199), (Condition(0, "is not", AF_UNIX),)),
    ("ioctl", (16, 29), (Condition(1, "is", TIOCSTI),)),
    ("ioctl", (16, 29), (Condition(1, "is", TIOCLINUX),)),
    ("prlimit64", (302, 261), (Condition(0, "is not 0"),)),
    ("setpriority", (141, 140), (Condition(1, "is not 0"),)),
    ("sched_setaffinity", (203, 122), (Condition(0, "is not 0"),)),
    ("sched_setscheduler", (144, 119), (Condition(0, "is not 0"),)),
    ("sched_setparam", (142, 118), (Condition(0, "is not 0"),)),
    ("sched_setattr", (314, 274), (Condition(0, "is not 0"),)),
    ("ioprio_set", (251, 30), (Condition(1, "is not 0"),)),
    # Files that run as their owner; and reading that truncates, which Landlock before version 3 does not see.
    ("open", (2, None), (Condition(1, "has", O_CREATES), Condition(2, "has", SET_ID))),
    ("openat", (257, 56), (Condition(2, "has", O_CREATES), Condition(3, "has", SET_ID))),
    ("open", (2, None), (Condition(1, "has", O_TRUNC), Condition(1, "lacks", O_ACCMODE))),
    ("openat", (257, 56), (Condition(2, "has", O_TRUNC), Condition(2, "lacks", O_ACCMODE))),
    ("creat", (85, None), (Condition(1, "has", SET_ID),)),
    ("mkdir", (83, None), (Condition(1, "has", SET_ID),)),
    ("mkdirat", (258, 34), (Condition(2, "has", SET_ID),)),
)

NEWEST = 450  # the last call that the table was written for
X32 = 0x40000000  # x86-64 calls with short pointers, by numbers of their own
# platform.machine() -> column of the table, AUDIT_ARCH_...
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# --- the filter ---

LOAD, JUMP_EQUAL, JUMP_GREATER, JUMP_SET, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # places in struct seccomp_data
Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value


def filter_program(machine: str, *, signals_stay: bool) -> bytes | None:
    """The filter as the kernel takes it; None for a processor that the table does not have. Raises nothing.

    `signals_stay`: something else keeps signals within the box.
    """
    if machine not in MACHINES:
        return None
    column, architecture = MACHINES[machine]
    program = [
        *[(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL)],
        (LOAD, 0, 0, NUMBER),
        *[(JUMP_GREATER, 0, 1, X32 - 1), (RETURN, 0, 0, KILL)],
        *[(JUMP_GREATER, 0, 1, NEWEST), (RETURN, 0, 0, ERRNO | errno.ENOSYS)],
    ]
    answers = ((REFUSED, errno.EPERM), (NOT_IMPLEMENTED, errno.ENOSYS), (PRETENDED, 0))
    for table, answer in (*answers, *(() if signals_stay else ((SIGNALS, errno.EPERM),))):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                program += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | answer)]
    for _, numbers, conditions in REFUSED_IF:
        if (number := numbers[column]) is not None:
            program += refused_if(number, conditions)
    program.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("<HBBI", *each) for each in program)


def refused_if(number: int, conditions: tuple[Condition, ...]) -> list[Instruction]:
    """Refuses that call where every condition holds; leaves the number of the call loaded."""
    block: list[Instruction] = [(RETURN, 0, 0, ERRNO | errno.EPERM)]
    for each in reversed(conditions):
        block = tested(each, len(block)) + block
    block.append((LOAD, 0, 0, NUMBER))
    return [(JUMP_EQUAL, 0, len(block), number), *block]


def tested(condition: Condition, rest: int) -> list[Instruction]:
    """Goes on with the next `rest` instructions where the condition holds, and past them where it does not."""
    low = ARGUMENTS + 8 * condition.argument
    match condition.test:
        case "has":
            return [(LOAD, 0, 0, low), (JUMP_SET, 0, rest, condition.value)]
        case "lacks":
            return [(LOAD, 0, 0, low), (JUMP_SET, rest, 0, condition.value)]
        case "is":
            return [(LOAD, 0, 0, low), (JUMP_EQUAL, 0, rest, condition.value)]
        case "is not":
            return [(LOAD, 0, 0, low), (JUMP_EQUAL, rest, 0, condition.value)]
        case "is not 0":
            either = [(LOAD, 0, 0, low), (JUMP_EQUAL, 0, 2, 0)]
            return [*either, (LOAD, 0, 0, low + 4), (JUMP_EQUAL, rest, 0, 0)]
