"""State machines to order for: a short one for many seeds, and the chain's own."""

from __future__ import annotations

from chain.application import Application, Member
from chain.codec import decode_value, encode_value
from chain.context import Execution
from chain.genesis import Genesis, begin
from chain.hashes import digest_of
from chain.machine_application import MachineApplication
from gvm.cbor import CborError


class ListApplication:
    """A list of blocks whose root is a chain of hashes. Turns go round in order."""

    def __init__(self, members: tuple[Member, ...], author: int) -> None:
        self.members, self.author = members, author
        self.root = digest_of("list")
        self.count = 0

    def validators(self, height: int) -> tuple[Member, ...]:
        """The same at every height."""
        return self.members

    def proposer(self, height: int, round_: int) -> int:
        """In order."""
        return (height + round_) % len(self.members)

    def propose(self, height: int, round_: int, signers: tuple[int, ...]) -> bytes:
        """A block that names its place and who wrote it."""
        return encode_value([height, self.root, list(signers), self.author])

    def validate(
        self,
        height: int,
        round_: int,
        block: bytes,
        signers: tuple[int, ...],
        fresh: bool = False,
    ) -> str:
        """Whether a block follows."""
        try:
            value = decode_value(block)
        except CborError as error:
            return str(error)
        if type(value) is not list or len(value) != 4:
            return "not a block"
        expected = [height, self.root, list(signers)]
        return "" if value[:3] == expected else f"expected {expected}, received {value[:3]}"

    def apply(self, height: int, block: bytes) -> bytes:
        """Appends."""
        if height != self.count + 1:
            raise ValueError(f"height must be {self.count + 1}, received {height}")
        self.root = digest_of("list", self.root, block)
        self.count = height
        return self.root


def machine(genesis: Genesis, execution: Execution) -> Application:
    """The chain's own state machine from its first state."""
    return MachineApplication(begin(genesis, execution), execution)
