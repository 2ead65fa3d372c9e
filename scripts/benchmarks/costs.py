"""FLOPs and bytes of a function, counted over its jaxpr: no compiler, no device.

Loop bodies count as often as they run, unlike in the compiler's own figures (`of_compiler`), which
count them once. What is computed and not used is left out, as every compiler leaves it out.

flops   2 for each product of a matrix product or convolution, of real numbers alone: neither
        padding nor the zeros put in between by dilation. 1 for each element that an elementwise
        operation gives; inputs less outputs for a reduction; 0 for moving data.
bytes   operands and results of every primitive: nothing fused, so an upper bound. The products'
        share is what is left if all else were fused into them.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters.partial_eval import dce_jaxpr


@dataclasses.dataclass(frozen=True)
class Cost:
    """`product_…`: the part of matrix products and convolutions."""

    flops: float = 0.0
    bytes: float = 0.0
    product_flops: float = 0.0
    product_bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(self._values(), other._values(), strict=True)))

    def times(self, trips: int) -> "Cost":
        return Cost(*(trips * value for value in self._values()))

    def _values(self) -> tuple[float, ...]:
        return dataclasses.astuple(self)


# One inner program that runs once, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
REDUCTIONS = ("argmax", "argmin", "reduce", *(f"reduce_{name}" for name in (
    "sum", "prod", "max", "min", "and", "or", "xor",
)))  # fmt: skip
WINDOWS = ("reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min")
SCATTERS = ("scatter-add", "scatter-mul", "scatter-min", "scatter-max")
MOVES = (
    "bitcast_convert_type", "broadcast_in_dim", "concatenate", "convert_element_type", "copy",
    "copy_p", "device_put", "dynamic_slice", "dynamic_update_slice", "expand_dims", "gather",
    "iota", "optimization_barrier", "pad", "random_fold_in", "random_seed", "random_split",
    "random_unwrap", "random_wrap", "reshape", "rev", "scatter", "sharding_constraint", "slice",
    "split", "squeeze", "stack", "stop_gradient", "transpose", "unstack",
)  # fmt: skip


def count(function: Callable[..., Any], *arguments: Any) -> Cost:
    """Cost of `function`, jitted or not, on arrays or their shapes (`jax.ShapeDtypeStruct`)."""
    return count_jaxpr(jax.make_jaxpr(function)(*arguments))


def count_jaxpr(closed: ClosedJaxpr) -> Cost:
    """Cost of all that the program's results need.

    Raises ValueError naming a primitive with an inner program that runs an unknown number of times.
    """
    used, _ = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    return _program(used)


def of_compiler(compiled: Any) -> dict[str, float]:
    """What the compiler says of its program: FLOPs and bytes, loop bodies counted once."""
    analysis = compiled.cost_analysis() or {}
    return {
        "compiler_flops_loops_once": float(analysis.get("flops", math.nan)),
        "compiler_bytes_loops_once": float(analysis.get("bytes accessed", math.nan)),
    }


def _program(jaxpr: Jaxpr | ClosedJaxpr) -> Cost:
    open_jaxpr = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    return sum(map(_equation, open_jaxpr.eqns), start=Cost())


def _equation(equation: JaxprEqn) -> Cost:
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        return _program(params[CALLS[name]])
    if name == "scan":
        return _program(params["jaxpr"]).times(params["length"])
    if name == "cond":  # by platform: what is written for any; else the dearest branch
        branches = [_program(branch) for branch in params["branches"]]
        platforms = params.get("branches_platforms")
        if platforms and None in platforms:
            return branches[platforms.index(None)]
        return max(branches, key=lambda cost: cost.flops)
    if name not in (*REDUCTIONS, *WINDOWS, *SCATTERS) and any(map(_is_program, params.values())):
        raise ValueError(f"{name}: how often its inner program runs is not known")
    moved = float(sum(map(_bytes, (*equation.invars, *equation.outvars))))
    if name in ("dot_general", "conv_general_dilated"):
        flops = _dot(equation) if name == "dot_general" else _convolution(equation)
        return Cost(flops, moved, flops, moved)
    return Cost(_operations(equation), moved)


def _operations(equation: JaxprEqn) -> float:
    """FLOPs of all that is no product; a name that is none of ours is elementwise."""
    name = equation.primitive.name
    given = sum(_size(variable) for variable in equation.outvars)
    if name in MOVES:
        return 0.0
    if name in REDUCTIONS:
        return float(sum(map(_size, equation.invars)) - given)
    if name in WINDOWS:
        return float(given * (math.prod(equation.params["window_dimensions"]) - 1))
    if name == "select_and_scatter_add":  # each source element looks for its window's largest
        window = math.prod(equation.params["window_dimensions"])
        return float(_size(equation.invars[0]) * window)
    if name in SCATTERS:
        return float(_size(equation.invars[2]))
    return float(given)


def _dot(equation: JaxprEqn) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    return 2.0 * _size(equation.outvars[0]) * math.prod(left[axis] for axis in contracted)


def _convolution(equation: JaxprEqn) -> float:
    """Batch and features are summed over as a matrix product; the axes of space by `hits`."""
    params = equation.params
    numbers = params["dimension_numbers"]
    image, kernel = map(_shape, equation.invars)
    given = _shape(equation.outvars[0])
    pairs = 1
    for i, (low, _) in enumerate(params["padding"]):
        pairs *= hits(
            image[numbers.lhs_spec[2 + i]],
            kernel[numbers.rhs_spec[2 + i]],
            given[numbers.out_spec[2 + i]],
            stride=params["window_strides"][i],
            padding=low,
            image_dilation=params["lhs_dilation"][i],
            kernel_dilation=params["rhs_dilation"][i],
        )
    batch, features = (given[axis] for axis in numbers.out_spec[:2])
    summed = kernel[numbers.rhs_spec[1]]  # input features of one group
    return 2.0 * batch * features * summed * pairs


def hits(
    image: int,
    kernel: int,
    given: int,
    *,
    stride: int,
    padding: int,
    image_dilation: int,
    kernel_dilation: int,
) -> int:
    """Pairs of an output position and a tap along one axis that meet a real element."""
    output, tap = np.arange(given)[:, None], np.arange(kernel)[None]
    position = output * stride + tap * kernel_dilation - padding
    inside = (position >= 0) & (position <= (image - 1) * image_dilation)
    return int((inside & (position % image_dilation == 0)).sum())


def _is_program(value: Any) -> bool:
    parts: Sequence[Any] = value if isinstance(value, (tuple, list)) else (value,)
    return any(isinstance(part, (Jaxpr, ClosedJaxpr)) for part in parts)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _size(variable: Any) -> int:
    return math.prod(_shape(variable))


def _bytes(variable: Any) -> int:
    return _size(variable) * variable.aval.dtype.itemsize
