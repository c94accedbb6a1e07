"""The pieces of ELMo's biLM as functions of their weights; every float is float32, every product may be bfloat16.

A matrix that is there for a product may come in bfloat16, too.
"""

import tensorflow as tf

ACTIVATIONS = {"relu": tf.nn.relu, "tanh": tf.tanh}  # of the char-CNN


def matmul(a: tf.Tensor, b: tf.Tensor, precision: tf.DType = tf.float32, **transpose) -> tf.Tensor:
    """a @ b -> float32. With `precision` bfloat16 the product is computed and rounded in bfloat16."""
    return tf.cast(tf.matmul(tf.cast(a, precision), tf.cast(b, precision), **transpose), tf.float32)


def char_cnn(char_ids, embedding, kernels, biases, activation: str = "relu") -> tf.Tensor:
    """Convolutions over the characters of a token, activation, maximum over the positions (Kim et al. 2016).

    Args:
        char_ids: int32 [tokens, chars].
        embedding: float32 [262, char_dim].
        kernels, biases: for each width, float32 [width, char_dim, filters] and [filters].
        activation: a key of ACTIVATIONS.
    Returns: float32 [tokens, all filters].
    """
    characters = tf.gather(embedding, char_ids)  # [tokens, chars, char_dim]
    features = [
        # what only rises commutes with the maximum, which leaves less to do
        ACTIVATIONS[activation](tf.reduce_max(tf.nn.conv1d(characters, kernel, stride=1, padding="VALID"), axis=1) + bias)
        for kernel, bias in zip(kernels, biases, strict=True)
    ]
    return tf.concat(features, axis=-1)


def highway(x, kernel, bias, precision: tf.DType = tf.float32) -> tf.Tensor:
    """g * x + (1 - g) * relu(x W + b), the gate g in the second half of `kernel` (Srivastava et al. 2015).

    Args:
        x: float32 [tokens, dim]; kernel: float32 [dim, 2 dim]; bias: float32 [2 dim].
    Returns: float32 [tokens, dim].
    """
    candidate, gate = tf.split(matmul(x, kernel, precision) + bias, 2, axis=-1)
    gate = tf.sigmoid(gate)
    return gate * x + (1.0 - gate) * tf.nn.relu(candidate)


def projected_lstm(
    x,
    input_kernel,
    recurrent_kernel,
    bias,
    projection,
    clip: float,
    precision: tf.DType = tf.float32,
    training: bool = False,
) -> tf.Tensor:
    """An LSTM with projected output from zero state, cells and output clipped (Sak et al. 2014).

    Gates are in the order input, candidate, forget (1 is added before its sigmoid), output.

    Args:
        x: float32 [tokens, batch, dim], time first. Padding must come after the real tokens; what stands there is junk.
        input_kernel: float32 [dim, 4 cells]; recurrent_kernel: float32 [projection, 4 cells]; bias: float32 [4 cells].
        projection: float32 [cells, projection].
        clip: bound of the absolute values of cells and output.
        training: keep what the gradient needs.
    Returns: float32 [tokens, batch, projection].
    """
    # One product for the inputs of all time steps; only h W_h is left to the loop.
    inputs = matmul(tf.reshape(x, [-1, x.shape[-1]]), input_kernel, precision) + bias
    inputs = tf.reshape(inputs, [tf.shape(x)[0], tf.shape(x)[1], bias.shape[0]])

    @tf.custom_gradient
    def scan(inputs, recurrent_kernel, projection):
        weights = recurrent_kernel, projection, clip, precision
        outputs, gates, cells = _scan(inputs, *weights, keep_states=True)
        return outputs, lambda grad: _scan_gradient(grad, outputs, gates, cells, *weights)

    if training:
        return scan(inputs, recurrent_kernel, projection)
    return _scan(inputs, recurrent_kernel, projection, clip, precision, keep_states=False)[0]


def _scan(inputs, recurrent_kernel, projection, clip, precision, keep_states):
    """The loop over time: outputs [t, b, dim]; if kept, activated gates [t, b, 4 cells] and cells [t, b, cells]."""
    steps, batch = tf.unstack(tf.shape(inputs)[:2])
    num_cells, dim = projection.shape
    recurrent_kernel, projection = tf.cast(recurrent_kernel, precision), tf.cast(projection, precision)
    inputs = tf.TensorArray(tf.float32, steps).unstack(inputs)
    arrays = [tf.TensorArray(tf.float32, steps) for _ in range(3 if keep_states else 1)]

    def step(t, h, c, *arrays):
        z = inputs.read(t) + matmul(h, recurrent_kernel, precision)
        i, j, f, o = tf.split(z, 4, axis=-1)
        i, j, f, o = tf.sigmoid(i), tf.tanh(j), tf.sigmoid(f + 1.0), tf.sigmoid(o)
        c = tf.clip_by_value(f * c + i * j, -clip, clip)
        h = tf.clip_by_value(matmul(o * tf.tanh(c), projection, precision), -clip, clip)
        states = [h, tf.concat([i, j, f, o], axis=-1), c] if keep_states else [h]
        return t + 1, h, c, *(array.write(t, state) for array, state in zip(arrays, states))

    start = (0, tf.zeros([batch, dim]), tf.zeros([batch, num_cells]), *arrays)
    arrays = tf.while_loop(lambda t, *_: t < steps, step, start)[3:]
    return tuple(
        tf.ensure_shape(array.stack(), [None, None, size]) for array, size in zip(arrays, [dim, 4 * num_cells, num_cells])
    )


def _scan_gradient(grad, outputs, gates, cells, recurrent_kernel, projection, clip, precision):
    """By hand, so that each weight's gradient is one product after the loop instead of one a time step."""
    steps, batch = tf.unstack(tf.shape(outputs)[:2])
    num_cells, dim = projection.shape
    recurrent_kernel, projection = (tf.cast(tf.transpose(w), precision) for w in (recurrent_kernel, projection))
    tanh_cells = tf.tanh(cells)
    states = grad, outputs, gates, cells, tanh_cells
    saved = [tf.TensorArray(tf.float32, steps, clear_after_read=False).unstack(x) for x in states]

    def step(t, dh, dc, dzs, dhs):
        grad_t, h, gates_t, c, tanh_c = (array.read(t) for array in saved)
        c_before = saved[3].read(tf.maximum(t - 1, 0)) * tf.cast(t > 0, tf.float32)
        i, j, f, o = tf.split(gates_t, 4, axis=-1)
        dh = tf.where(tf.abs(h) < clip, dh + grad_t, 0.0)
        dm = matmul(dh, projection, precision)  # of o tanh(c), which is projected
        dc = tf.where(tf.abs(c) < clip, dc + dm * o * (1.0 - tanh_c * tanh_c), 0.0)
        di, dj, df = dc * j * i * (1.0 - i), dc * i * (1.0 - j * j), dc * c_before * f * (1.0 - f)
        dz = tf.concat([di, dj, df, dm * tanh_c * o * (1.0 - o)], axis=-1)
        return t - 1, matmul(dz, recurrent_kernel, precision), dc * f, dzs.write(t, dz), dhs.write(t, dh)

    arrays = [tf.TensorArray(tf.float32, steps) for _ in range(2)]
    start = (steps - 1, tf.zeros([batch, dim]), tf.zeros([batch, num_cells]), *arrays)
    dzs, dhs = (array.stack() for array in tf.while_loop(lambda t, *_: t >= 0, step, start)[3:])
    dzs, dhs = tf.ensure_shape(dzs, [None, None, 4 * num_cells]), tf.ensure_shape(dhs, [None, None, dim])
    projected = gates[..., 3 * num_cells :] * tanh_cells
    return (
        dzs,
        matmul(_flat(_one_earlier(outputs)), _flat(dzs), precision, transpose_a=True),
        matmul(_flat(projected), _flat(dhs), precision, transpose_a=True),
    )


def _one_earlier(states):
    """The states one time step before, zero at the start: [t, b, dim] -> [t, b, dim]."""
    return tf.concat([tf.zeros_like(states[:1]), states[:-1]], axis=0)


def _flat(states):
    return tf.reshape(states, [-1, states.shape[-1]])  # [t * b, dim]
