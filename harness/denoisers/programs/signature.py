"""What a program takes and gives, as far as its file says."""

from typing import Any, NamedTuple

from harness.core.errors import InputError


class Axis(NamedTuple):
    """A side that may vary.

    Attributes:
        name: as the file has it.
        low, high: its limits; None for none.
    """

    name: str
    low: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        if self.low is None and self.high is None:
            return self.name
        return f"{self.name}: {self.low or 0} to {'any' if self.high is None else self.high}"


class Value(NamedTuple):
    """An input or output.

    Attributes:
        name: as the file has it.
        dtype: in torch's words, such as `float32`; "" where the file does not say.
        shape: sides; None where the file does not say.
    """

    name: str
    dtype: str = ""
    shape: tuple[int | Axis, ...] | None = None

    def __str__(self) -> str:
        shape = "" if self.shape is None else f"[{', '.join(map(str, self.shape))}]"
        return f"{self.dtype}{shape}" or "not said in the file"


class Signature(NamedTuple):
    """Inputs and outputs of a program, in their order."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def largest_batch(self) -> int | None:
        """Rows that a call may have; None for any number. Export finds limits by itself, from what kernels it saw."""
        batches = [value.shape[0] for value in self.inputs if value.shape]
        return min((axis.high for axis in batches if isinstance(axis, Axis) and axis.high is not None), default=None)

    def as_facts(self) -> dict[str, Any]:
        """For `harness inspect`."""
        return {
            "inputs": {value.name: str(value) for value in self.inputs},
            "outputs": {value.name: str(value) for value in self.outputs},
        }

    def check(self, where: str, shape: tuple[int, ...], label_dim: int, conditional: bool = False) -> None:
        """The program is a network f(x, t) or f(x, t, condition) on samples of this shape, in batches of any size.

        Args:
            where: what to call the file in errors.
            shape: of one sample.
            label_dim: number of classes.
            conditional: whether it takes conditions other than classes. A network with a condition needs either.

        Raises:
            InputError: it is not, with the remedy.
        """
        names = ", ".join(value.name for value in self.inputs)
        if len(self.inputs) not in (2, 3):
            raise InputError(
                f"{where}: a network takes (x, t) or (x, t, condition); this one takes ({names}); export a function "
                "of these alone"
            )
        if len(self.inputs) == 3 and not (label_dim or conditional):
            raise InputError(
                f"{where}: the network takes a condition, '{self.inputs[2].name}'; give label_dim, the number of "
                "classes, or conditional: true, or export a function of (x, t)"
            )
        if len(self.outputs) != 1:
            raise InputError(
                f"{where}: a network gives one tensor; this one gives {len(self.outputs)}; export a function that "
                "returns the prediction alone"
            )
        self._check_shapes(where, shape)

    def _check_shapes(self, where: str, shape: tuple[int, ...]) -> None:
        x, t = self.inputs[:2]
        output = self.outputs[0]
        if x.shape and isinstance(x.shape[0], int):
            raise InputError(
                f"{where}: exported for a batch of {x.shape[0]}; export it again with a dynamic batch: dynamic_shapes "
                'with {0: torch.export.Dim("batch")} for every input'
            )
        for value, wanted, name in ((x, shape, x.name), (output, shape, "output"), (t, (), t.name)):
            if value.shape is None:
                continue
            if len(value.shape) != 1 + len(wanted) or not all(map(_fits, value.shape[1:], wanted)):
                raise InputError(
                    f"{where}: '{name}' is {value}, and shape {list(shape)} needs [batch"
                    f"{''.join(f', {side}' for side in wanted)}]"
                )


def _fits(side: int | Axis, wanted: int) -> bool:
    return isinstance(side, Axis) or side == wanted
