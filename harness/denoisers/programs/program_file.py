"""A program in a file, which is read once."""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from harness.core.code import require_permission
from harness.core.errors import InputError
from harness.denoisers.programs.signature import Signature

if TYPE_CHECKING:
    import torch


class ProgramFile(ABC):
    """Base of the formats: a program that is described, searched for code and opened, all from the same bytes.

    Args:
        path: what to call the file in errors.
        content: its bytes.
        device: where the program is to compute; None for a file that is described and not opened.

    Attributes:
        format: what people call such a file.
    """

    format: ClassVar[str]

    def __init__(self, path: Path, content: bytes, device: "str | torch.device | None") -> None:
        self.path, self.content, self.device = path, content, device

    @classmethod
    def read(cls, path: Path, sha256: str | None, device: "str | torch.device | None" = None) -> Self:
        """The program in a file.

        Args:
            path: the file.
            sha256: the hash that it must have; None for any.
            device: as above.

        Raises:
            InputError: the file cannot be read, or has another hash.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
        if sha256 is not None and (actual := hashlib.sha256(content).hexdigest()) != sha256:
            raise InputError(
                f"{path}: SHA-256 is {actual}, not {sha256}; a program is run only if it is the one that was named"
            )
        return cls(path, content, device)

    @property
    @abstractmethod
    def signature(self) -> Signature:
        """What the program takes and gives, as far as the file says; runs nothing.

        Raises:
            InputError: a file of another kind, or damaged.
        """

    @property
    @abstractmethod
    def payload(self) -> str:
        """What in the file is run as Python, or reaches beyond tensors, when it is opened or called; "" for nothing.

        Raises:
            InputError: a file of another kind, or damaged.
        """

    def load(self) -> Any:
        """The program on its device, as a function of tensors.

        Raises:
            InputError: a file of another kind, damaged, or with a payload and no permission.
        """
        if self.payload:
            require_permission(f"{self.path}: {self.payload}")
        assert self.device is not None, "a file that was read to be described has no device"
        return self._load(self.device)

    @abstractmethod
    def _load(self, device: "str | torch.device") -> Any:
        """The same, once it is allowed."""

    @abstractmethod
    def signature_of(self, loaded: Any) -> Signature:
        """The signature, with the types that only the loaded program tells."""
