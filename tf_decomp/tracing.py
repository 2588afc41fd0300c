# SPDX-License-Identifier: Apache-2.0
"""tf.function as this package uses it: without AutoGraph.

Rewriting this package's Python takes AutoGraph about as long as TensorFlow then needs
to trace it, and nothing here needs it. Keras traces its own steps in this way too.
"""

import functools

import tensorflow as tf

traced = functools.partial(tf.function, autograph=False, reduce_retracing=True)
compiled = functools.partial(traced, jit_compile=True)
