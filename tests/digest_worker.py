# SPDX-License-Identifier: Apache-2.0
"""bin/train.py that prints a digest of what a run resumes from before evaluations.

It kills itself at the evaluation whose number the variable DIES_AT holds.
"""

import hashlib
import itertools
import os
import runpy
import signal
import time
from typing import Any

from processes import TRAIN

from tf_decomp import DecompositionVAE

evaluate = DecompositionVAE.evaluate_with_errors
numbers = itertools.count(1)


def print_and_evaluate(vae: DecompositionVAE, *args: Any, **kwargs: Any) -> Any:
    digest = hashlib.sha256()
    for variable in (*vae.weights, *vae.optimizer.variables):
        digest.update(variable.numpy().tobytes())
    print("state", digest.hexdigest(), flush=True)
    if next(numbers) == int(os.environ["DIES_AT"]):
        time.sleep(2)  # The other may still fetch this one's part of the last sums.
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate(vae, *args, **kwargs)


DecompositionVAE.evaluate_with_errors = print_and_evaluate
runpy.run_path(str(TRAIN), run_name="__main__")
