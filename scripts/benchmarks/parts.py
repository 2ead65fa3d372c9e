"""The parts of a train step, each alone and in both libraries: a pass of a layer, Adam's update.

On random data of the shapes that a part has in a step, float32. What needs PyTorch takes it as an
argument, for PyTorch never meets TensorFlow in one process.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ifgan_jax import build
from ifgan_jax.models import attention, convolution, layers
from ifgan_jax.state import Player
from ifgan_jax.step import update
from scripts.benchmarks import costs, ours, sizes, theirs

Shape = tuple[int, ...]
Run = Callable[[], object]
FORWARD, KERNEL, INPUT, GRADIENT = "forward", "kernel's gradient", "input's gradient", "gradient"
CONVOLUTION, ADAM = "convolution", "Adam"
NORM, ATTENTION = "BatchNorm, ReLU", "attention"
POOL, STEM_POOL = "max pool 2×2", "max pool 3×3 / 2"


class Part(Protocol):
    """`str` names it; layer: its kind.

    product_flops: of matrix products and convolutions. bytes: of what it reads and writes, each
    array once. `ours` and `torch` give what runs it, over when it returns.
    """

    @property
    def layer(self) -> str: ...
    @property
    def product_flops(self) -> float: ...
    @property
    def bytes(self) -> int: ...
    def ours(self) -> Run: ...
    def torch(self, torch: Any, where: str) -> Run: ...


class Convolution(NamedTuple):
    """One of its three passes: NHWC input, HWIO kernel."""

    network: str
    kind: str
    input: Shape
    kernel: Shape
    stride: int
    padding: convolution.Padding

    @property
    def layer(self) -> str:
        return CONVOLUTION

    def __str__(self) -> str:
        kh, kw, channels, features = self.kernel
        b, h, w, _ = self.input
        stride = f" / {self.stride}" if self.stride > 1 else ""
        layer = f"{kh}×{kw}{stride}, {channels} → {features} on {b}×{h}×{w}"
        return f"{self.network}: {layer}, {self.kind}"

    @property
    def output(self) -> Shape:
        sides = convolution.output_size(self.input, self.kernel, self.stride, self.padding)
        return (self.input[0], *sides, self.kernel[3])

    @property
    def product_flops(self) -> int:
        """The same for all three kinds; zeros of the padding do not count."""
        b, *sides, features = self.output
        pairs = math.prod(
            costs.hits(
                self.input[1 + i], self.kernel[i], sides[i], stride=self.stride,
                padding=self.padding[i][0], image_dilation=1, kernel_dilation=1,
            )
            for i in range(2)
        )  # fmt: skip
        return 2 * b * features * self.kernel[2] * pairs

    @property
    def bytes(self) -> int:
        return 4 * sum(map(math.prod, (self.input, self.kernel, self.output)))

    def ours(self) -> Run:
        x, kernel, dy = map(jnp.asarray, _random(self.input, self.kernel, self.output))

        def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return convolution.convolve(x, kernel, self.stride, self.padding)

        def forward(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
            return jax.vjp(convolve, x, kernel)[0]  # in the form that it has in a step

        def kernels(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
            return jax.vjp(partial(convolve, x), kernel)[1](dy)[0]

        def inputs(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
            return jax.vjp(lambda x: convolve(x, kernel), x)[1](dy)[0]

        run = jax.jit({FORWARD: forward, KERNEL: kernels, INPUT: inputs}[self.kind])
        return lambda: jax.block_until_ready(run(x, kernel, dy))

    def torch(self, torch: Any, where: str) -> Run:
        x, kernel, dy = _random(self.input, self.kernel, self.output)
        pads = [pad for pad, _ in self.padding]
        if any(low != high for low, high in self.padding):  # PyTorch has them by hand
            x, pads = np.pad(x, ((0, 0), *self.padding, (0, 0))), [0, 0]
        x, dy = (theirs.nchw(array, torch, where) for array in (x, dy))
        weight = torch.from_numpy(kernel).permute(3, 2, 0, 1).to(where)
        weight = weight.contiguous(memory_format=torch.channels_last)
        strides = [self.stride] * 2
        if self.kind == FORWARD:
            conv2d = partial(torch.nn.functional.conv2d, x, weight, None, strides, pads)
            return theirs.blocked(conv2d, torch, where)
        wanted = [self.kind == INPUT, self.kind == KERNEL, False]
        back = torch.ops.aten.convolution_backward
        rest = (None, strides, pads, [1, 1], False, [0, 0], 1, wanted)
        return theirs.blocked(lambda: back(dy, x, weight, *rest), torch, where)


class Layer(NamedTuple):
    """A pass of another layer.

    A BatchNorm counts with the ReLU that most have after them, for compilers make one loop of both;
    D's is leaky, that of a shortcut comes after its sum.

    shapes: of its inputs, (b, h, w, c), (b, n, c) or (c,). block: of `attention.attend`.
    """

    network: str
    layer: str
    kind: str
    shapes: tuple[Shape, ...]
    block: int = 0

    def __str__(self) -> str:
        *sizes, channels = self.shapes[0]
        return (
            f"{self.network}: {self.layer}, {channels} on {'×'.join(map(str, sizes))}, {self.kind}"
        )

    def _function(self) -> Callable[..., jax.Array]:
        functions: dict[str, Callable[..., jax.Array]] = {
            NORM: lambda x, scale, bias: layers.relu(layers.normalize(x, scale, bias)[0]),
            ATTENTION: lambda q, k, v: attention.attend(q, k, v, self.block),
            POOL: layers.max_pool_2x2,
            STEM_POOL: layers.max_pool_3x3_stride_2,
        }
        return functions[self.layer]

    def _traced(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What the pass runs, and the shapes of what it takes; nothing is computed."""
        inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in self.shapes]
        if self.kind == FORWARD:
            return self._function(), tuple(inputs)
        y, pull = jax.eval_shape(partial(jax.vjp, self._function()), *inputs)
        return _pull_back, (pull, y)

    @property
    def product_flops(self) -> float:
        run, inputs = self._traced()
        return costs.count(run, *inputs).product_flops

    @property
    def bytes(self) -> int:
        run, inputs = self._traced()
        arrays = jax.tree.leaves((inputs, jax.eval_shape(run, *inputs)))
        return sum(array.size * array.dtype.itemsize for array in arrays)

    def ours(self) -> Run:
        inputs = [jnp.asarray(array) for array in _random(*self.shapes)]
        function = jax.jit(self._function())
        if self.kind == FORWARD:
            return lambda: jax.block_until_ready(function(*inputs))
        y, pull = jax.vjp(function, *inputs)
        run = jax.jit(_pull_back)
        return lambda: jax.block_until_ready(run(pull, y))

    def torch(self, torch: Any, where: str) -> Run:
        def given(array: np.ndarray) -> Any:
            if array.ndim == 4:
                return theirs.nchw(array, torch, where)
            tensor = torch.from_numpy(array).to(where)
            return tensor.mT if array.ndim == 3 else tensor  # (b, c, n), as the twin has it

        f = torch.nn.functional
        functions: dict[str, Callable[..., Any]] = {
            NORM: lambda x, w, b: torch.relu(f.batch_norm(x, None, None, w, b, training=True)),
            ATTENTION: lambda q, k, v: v @ torch.softmax(q.mT @ k, -1).mT,
            POOL: lambda x: f.max_pool2d(x, 2),
            STEM_POOL: lambda x: f.max_pool2d(x, 3, 2, 1),
        }
        function = functions[self.layer]
        inputs = [given(array).requires_grad_() for array in _random(*self.shapes)]
        if self.kind == FORWARD:
            return theirs.blocked(lambda: function(*inputs), torch, where)
        y = function(*inputs)
        back = partial(torch.autograd.grad, y, inputs, y.detach(), retain_graph=True)
        return theirs.blocked(back, torch, where)


class Adam(NamedTuple):
    """The update of a network; shapes: of its parameters."""

    network: str
    shapes: tuple[Shape, ...]

    @property
    def layer(self) -> str:
        return ADAM

    @property
    def product_flops(self) -> float:
        return 0.0

    def __str__(self) -> str:
        return f"{self.network}: Adam's update of {len(self.shapes)} arrays"

    @property
    def bytes(self) -> int:
        """Reads gradient, parameter and two moments, writes the last three."""
        return 7 * 4 * sum(map(math.prod, self.shapes))

    def ours(self) -> Run:
        settings = sizes.get_config("paper").optimizers[self.network]
        optimizer = build.build_optimizer(settings, ours.STEPS_PER_EPOCH)
        parameters, gradient = ([*map(jnp.asarray, _random(*self.shapes))] for _ in range(2))
        player = Player(parameters, {}, optimizer.init(parameters))
        run = jax.jit(partial(update, batch_stats={}, optimizer=optimizer), donate_argnums=0)

        def descend() -> Player:
            nonlocal player
            player = jax.block_until_ready(run(player, gradient))
            return player

        return descend

    def torch(self, torch: Any, where: str) -> Run:
        parameters = [torch.from_numpy(array).to(where) for array in _random(*self.shapes)]
        for parameter in parameters:
            parameter.grad = parameter.clone()
        adam = torch.optim.Adam(parameters, 1e-4, (0.9, 0.99), weight_decay=1e-4, fused=True)

        def descend() -> list[Any]:
            adam.step()
            return parameters

        return theirs.blocked(descend, torch, where)


def _pull_back(pull: Callable[[jax.Array], Any], dy: jax.Array) -> Any:
    return pull(dy)


def _random(*shapes: Shape) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)
