"""The base of metrics that are a function of the user's: images in, one number an image out.

The function comes from the user's Python code, which runs only with permission (`harness.core.code`), or from a
TorchScript file that is named with its hash. It is called where images are sampled, and once before a run on two random
images, so that what cannot work is said before anything is sampled. Plans and reports look at its source or its file,
and run neither.

Images are float32 on the device that computes them. Those of a denoiser with data in [-1, 1] are rounded to bytes
first, as for extractors, and are byte / 127.5 - 1; those of any other range are as the denoiser gives them.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeAlias

from pydantic import Field

from harness.core.code import call_factory, find_code, require_permission
from harness.core.config import Arguments, Files, unwritten
from harness.core.data_range import DataRange, is_of_bytes, range_in_words
from harness.core.embedded import sha256_of
from harness.core.errors import InputError, is_out_of_memory
from harness.core.text import told_at_end
from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics.base import SampleMean, SampleValues

if TYPE_CHECKING:
    from torch import Tensor

    from harness.denoisers.config import Description

Function: TypeAlias = Callable[..., Any]

PROBE = 2
"""Images that a function is tried on."""

LOADED = 4
"""Functions that stay loaded: chunks of one metric follow each other."""


Factory = Annotated[str, Field(min_length=1)]
"""`file.py:object` or `module:object`, which makes something when it is called."""


class PythonSource(NamedTuple):
    """A function that the user's Python code makes.

    Args:
        factory: `file.py:object` or `module:object`; it is called with the arguments, and gives the function.
        args: its keyword arguments, as JSON.
        weights: files that the function is made of, which the factory gets as `weights`, a list of paths, where it has
            a parameter of that name.
    """

    factory: str
    args: str
    weights: tuple[str, ...] = ()

    def content(self) -> dict[str, Any]:
        """What identifies it; runs no code.

        Raises:
            InputError: there is no such source, or no such file of weights.
        """
        code = find_code(self.factory)
        made = self.factory.rpartition(":")[2]
        content = {"code": code.sha256, "distributions": code.distributions, "object": made, "args": self.args}
        if self.weights:  # left out without any, so that identities stay as they were before the field came
            content["weights"] = [sha256_of(Path(file).expanduser()) for file in self.weights]
        return content

    def check(self) -> None:
        """See that it is there, with its weights; runs no code."""
        self.content()

    def load(self, device: str) -> Function:
        """The function, ready on a device; equal sources are loaded once.

        Raises:
            InputError: no permission, no such object, the factory fails, or it makes what cannot be called.
        """
        require_permission(f"'{self.factory}'")  # also of one that is loaded already
        return _made(self, json.dumps(self.content(), sort_keys=True), device)


class TorchScriptFile(NamedTuple):
    """A function that is a TorchScript module in a file.

    Args:
        path: the file.
        sha256: its hash, without which it is not run.
    """

    path: str
    sha256: str | None

    def content(self) -> dict[str, Any]:
        """What identifies it.

        Raises:
            InputError: no hash was given; with that of the file, to look at it first.
        """
        if self.sha256 is None:
            there = sha256_of(Path(self.path))
            raise InputError(
                f"{self.path}: a TorchScript file is a program, and none is run without its `sha256`; this file's is "
                f"{there}"
            )
        return {"file": self.sha256}

    def check(self) -> None:
        """See that the file is there, and is the one that was named."""
        named, there = self.content()["file"], sha256_of(Path(self.path))
        if there != named:
            raise InputError(f"{self.path}: SHA-256 is {there}, not {named}; it is another file than the one named")

    def load(self, device: str) -> Function:
        """The module on a device; the last ones stay loaded.

        Raises:
            InputError: another file than the one with this hash, or no TorchScript.
        """
        self.content()
        return _opened(self, device)


@lru_cache(maxsize=LOADED)
def _made(source: PythonSource, content: str, device: str) -> Function:
    import torch

    function = call_factory(
        source.factory,
        json.loads(source.args),
        source.weights,
        makes="function of images",
        called_as="f(images) or f(images, condition)",
    )
    return function.to(device).eval() if isinstance(function, torch.nn.Module) else function


@lru_cache(maxsize=LOADED)
def _opened(source: TorchScriptFile, device: str) -> Function:
    from harness.denoisers.programs.torchscript import ScriptModuleFile

    assert source.sha256 is not None
    module: Function = ScriptModuleFile.read(Path(source.path), source.sha256, device).load()
    return module


class ImageFunction(SampleMean):
    """Base of metrics that are a function of the user's.

    Args:
        label: a name for this metric in place of its own.
        better: which way is better.
        values: `bytes`, images rounded to bytes as in a PNG file, or `float`, images as the denoiser gives them; by
            default as the denoiser's `data_range` says.
        args: keyword arguments of the factory.
        weights: files that the function is made of; they are hashed, and given to the factory as `weights`, a list of
            paths, where it has a parameter of that name.

    Attributes:
        takes_condition: the function's second argument is the condition of each image, or None.
    """

    is_probed: ClassVar[bool] = True
    takes_condition: ClassVar[bool] = False

    label: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    better: Literal["lower", "higher"] = "lower"  # type: ignore[misc]  # a field, where other metrics have a constant
    values: Literal["bytes", "float"] | None = None
    args: Annotated[Arguments, Field(default_factory=dict)]
    weights: Annotated[Files, unwritten(())] = ()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # arguments are a dict, which has no hash

    @property
    @abstractmethod
    def program(self) -> PythonSource | TorchScriptFile:
        """Where the function is."""

    @property
    @abstractmethod
    def word_of_program(self) -> str:
        """The function's own name."""

    @property
    def name(self) -> str:
        return self.label or f"{super().name}-{self.word_of_program}"

    @property
    def title(self) -> str:
        return self.label or self.word_of_program

    @property
    def compares_by_factors(self) -> bool:
        return self.better == "lower"

    @property
    def runs_code(self) -> bool:
        return isinstance(self.program, PythonSource)

    @property
    def identity(self) -> str:
        """Kind, version, and a hash of what changes the numbers: source or file, arguments, weights, values."""
        fields = {**self.program.content(), "values": self.values, "plugin": self.plugin}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return f"{super().name}:{self.version}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def for_range(self, data_range: DataRange) -> Self:
        if self.values == "bytes" and not is_of_bytes(data_range):
            raise InputError(
                f"`values: bytes` means images in [-1, 1], and these are floats, {range_in_words(data_range)}; leave "
                "it out"
            )
        return self

    def check_files(self) -> None:
        self.program.check()

    def probe(self, denoiser: "Description", device: str) -> None:
        import torch

        from harness.sampling.dynamics import one_hot

        generator = torch.Generator().manual_seed(0)
        images, condition = torch.randn(PROBE, *denoiser.shape, generator=generator), None
        if denoiser.data_range is not None:
            low, high = denoiser.data_range
            images = low + (high - low) * torch.rand(images.shape, generator=generator)
        if denoiser.label_dim:
            condition = one_hot(torch.arange(PROBE) % denoiser.label_dim, denoiser.label_dim).to(device)
        function = self.program.load(device)
        if denoiser.conditional and self.takes_condition:
            return  # what a file of conditions holds is known where it is sampled
        with torch.no_grad():
            self._numbers(function, self._given(images.to(device), denoiser.data_range), condition)

    def measure(self, job: SamplingJob) -> SampleValues:
        import torch

        from harness.sampling.conditions import pad, take
        from harness.sampling.denoiser import data_range
        from harness.sampling.sample import sample

        function = self.program.load(str(job.device or job.denoiser.device))
        out = sample(job.denoiser, job.sampler, job.seeds, job.labels, device=job.device, batch=job.batch)
        images, batch, numbers = self._given(out.images, data_range(job.denoiser)), job.batch or len(job.seeds), []
        for start in range(0, len(images), batch):  # calls of `batch` rows: a number depends on no other call's images
            condition = pad(take(out.condition, slice(start, start + batch)), batch)
            numbers.append(self._numbers(function, pad(images[start : start + batch], batch), condition))
        return SampleValues(torch.cat(numbers)[: len(images)], out.nfe, out.rows)

    def _given(self, images: "Tensor", data_range: DataRange) -> "Tensor":
        """Images [N, ...] as the function gets them, float32.

        Raises:
            InputError: bytes were asked for, and the data are floats.
            SamplingError: images that are not finite.
        """
        from harness.datasets.image_bytes import check_finite, from_bytes, to_bytes

        if self.for_range(data_range).values != "float" and is_of_bytes(data_range):
            return from_bytes(to_bytes(images))
        check_finite(images)
        return images.float()

    def _numbers(self, function: Function, images: "Tensor", condition: "Tensor | None") -> "Tensor":
        """The function's numbers [B], float64 on the CPU.

        Raises:
            InputError: it fails, or gives something else. Running out of memory is passed on.
        """
        import torch

        try:
            given = function(images, condition) if self.takes_condition else function(images)
            numbers = torch.as_tensor(given)
        except Exception as error:  # it is the user's program: anything may come
            if is_out_of_memory(error):
                raise
            raise InputError(f"'{self.name}' failed on a batch of images ({told_at_end(error)})") from None
        if numbers.shape != images.shape[:1] or numbers.is_complex():
            kind = str(numbers.dtype).removeprefix("torch.")
            raise InputError(
                f"'{self.name}' should give one number an image, [{len(images)}]; we got {kind} {list(numbers.shape)}"
            )
        return numbers.detach().double().cpu()
