"""What the kernel knows of the other end of a loopback connection: what is still unread there, and whose it is."""

from __future__ import annotations

import socket
import struct

SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
ANY = 0xFFFFFFFF
HEADER = struct.Struct("=IHHII")
# Behind the header of the message and the first two parts of a struct inet_diag_msg.
UNREAD_AT = HEADER.size + 4 + 48 + 4


def unread_bytes(ours: socket.socket) -> int:
    """How much of what was sent is unread. Raises ConnectionResetError when the other end is gone."""
    return _other_end(ours)[0]


def other_inode(ours: socket.socket) -> int:
    """The number under which the process at the other end has it among its open files."""
    return _other_end(ours)[1]


def _other_end(ours: socket.socket) -> tuple[int, int]:
    (their_host, their_port), (our_host, our_port) = ours.getpeername(), ours.getsockname()
    ends = struct.pack(">HH16s16s", their_port, our_port, socket.inet_aton(their_host), socket.inet_aton(our_host))
    asked = (
        struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, ANY) + ends + struct.pack("=III", 0, ANY, ANY)
    )
    header = HEADER.pack(HEADER.size + len(asked), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
        kernel.send(header + asked)
        told = kernel.recv(4096)
    if HEADER.unpack_from(told)[1] != SOCK_DIAG_BY_FAMILY:
        raise ConnectionResetError("the other end is gone")
    unread, _unsent, _user, inode = struct.unpack_from("=IIII", told, UNREAD_AT)
    return unread, inode
