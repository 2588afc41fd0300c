# SPDX-License-Identifier: Apache-2.0
"""Divergences that have weights: the adversary's density ratio, and the KL's capacity.

Two players share a step: each moves along its own loss, with its own optimiser.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import LATENT_DIM, data, make_vae
from monte_carlo import finite_differences
from runs import one_line
from tensorflow_probability import distributions as tfd

from tf_decomp import ExperimentConfig, InputError, TotalCorrelation, train
from tf_decomp.divergences import AdversarialDivergence, KLCapacity, kl_divergence
from tf_decomp.divergences.adversarial import Learner
from tf_decomp.priors import NormalPrior, StudentTPrior
from tf_decomp.vae import LinearSchedule

# Keras converts its variables in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

RATE = 0.1
Z = np.random.default_rng(0).normal(size=(7, LATENT_DIM))
Y = np.random.default_rng(1).normal(1, 2, size=(7, LATENT_DIM))


def adversary(reference: str = "prior", **kwargs: Any) -> AdversarialDivergence:
    return AdversarialDivergence(
        LATENT_DIM, reference, (5,), keras.optimizers.SGD(RATE), **kwargs
    )


def logits(weights: list[np.ndarray], z: np.ndarray) -> np.ndarray:
    hidden = z @ weights[0] + weights[1]
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    return hidden @ weights[2] + weights[3]


def logistic_loss(
    reference: str, weights: list[np.ndarray], z: np.ndarray, y: np.ndarray
) -> float:
    """Their paper's cross-entropy, twice: of codes, and of samples of r(z)."""
    if reference == "marginals":
        y = np.stack([np.roll(z[:, d], -d) for d in range(z.shape[1])], axis=1)
    of_codes, of_others = logits(weights, z), logits(weights, y)
    return np.mean(np.log1p(np.exp(-of_codes)) + np.log1p(np.exp(of_others)))


@pytest.mark.parametrize("reference", ["prior", "marginals"])
@pytest.mark.parametrize("upstream", [1.0, -30.0])
def test_each_player_gets_the_gradient_of_its_own_loss(
    reference: str, upstream: float
) -> None:
    divergence = adversary(reference, dtype="float64")
    network, z, y = divergence.network, tf.constant(Z), tf.constant(Y)
    start = network.get_weights()
    variables = [v.value for v in network.variables]
    with tf.GradientTape() as tape:
        tape.watch([z, y])
        value = divergence(None, None, z, y)
        total = upstream * value
    of_codes, of_samples, *of_weights = tape.gradient(total, [z, y, *variables])
    assert float(value) == pytest.approx(logits(start, Z).mean())
    assert of_samples is None

    def mean_logit(z: tf.Tensor) -> tf.Tensor:
        return upstream * tf.reduce_mean(network(z))

    expected = finite_differences(mean_logit, [Z], 0)
    np.testing.assert_allclose(of_codes, expected, rtol=1e-6, atol=1e-9)
    for index, gradient in enumerate(of_weights):
        slopes = np.zeros_like(start[index])
        for place in np.ndindex(slopes.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [w.copy() for w in start]
                moved[index][place] += step
                ends.append(logistic_loss(reference, moved, Z, Y))
            slopes[place] = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-9)


def test_without_weight_the_adversary_does_not_learn() -> None:
    divergence = adversary(dtype="float64")
    variables = [v.value for v in divergence.network.variables]
    with tf.GradientTape() as tape:
        total = 0.0 * divergence(None, None, tf.constant(Z), tf.constant(Y))
    assert all(np.all(g == 0) for g in tape.gradient(total, variables))


def quadratic() -> keras.Model:
    """Has the log ratio of any two normals in the plane among its logits."""
    z = keras.Input((2,))
    product = keras.layers.Multiply()([z[:, :1], z[:, 1:]])
    features = keras.layers.Concatenate()([z, keras.layers.Multiply()([z, z]), product])
    return keras.Model(z, keras.layers.Dense(1)(features))


@pytest.mark.parametrize("reference", ["prior", "marginals"])
def test_an_adversary_that_knows_best_gives_the_kl(reference: str) -> None:
    n, tril = 20_000, np.array([[0.8, 0.0], [0.6, 0.7]])
    q = tfd.MultivariateNormalTriL([0.5, -0.3], tf.constant(tril, tf.float32))
    p = NormalPrior(2).distribution
    covariance = tril @ tril.T
    marginals = tfd.MultivariateNormalDiag(
        [0.5, -0.3], tf.constant(np.sqrt(np.diag(covariance)), tf.float32)
    )
    z, y = q.sample(n, seed=[0, 1]), p.sample(n, seed=[0, 2])
    divergence = AdversarialDivergence(
        2, reference, quadratic(), keras.optimizers.Adam(0.05)
    )

    @tf.function(autograph=False)
    def learn() -> tf.Tensor:
        optimizer, variables = divergence.learner
        with tf.GradientTape() as tape:
            value = divergence(q, p, z, y)
        gradients = tape.gradient(value, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return value

    values = [float(learn()) for _ in range(400)]
    truth = float(tfd.kl_divergence(q, p if reference == "prior" else marginals))
    error = np.std(divergence.network(z)) / np.sqrt(n)
    assert error < 0.01
    assert abs(values[0] - truth) > 20 * error
    assert abs(values[-1] - truth) < 5 * error
    assert float(divergence(q, p, z.numpy(), y.numpy())) == float(
        divergence(q, p, z, y)
    )


# -- in a model -------------------------------------------------------------------


def step_of(divergence: Any, alpha: float = 2.0) -> Any:
    """Returns a model, before and after a step."""
    vae = make_vae(divergence=divergence, alpha=alpha)
    vae.compile(keras.optimizers.SGD(RATE), jit_compile=False)
    vae.train_on_batch(data(6))
    return vae


@pytest.mark.parametrize("reference", ["prior", "marginals"])
def test_a_step_moves_each_player_by_its_own_optimiser(reference: str) -> None:
    divergence = adversary(reference)
    start = divergence.network.get_weights()

    def fixed(posterior: Any, prior: Any, latents: Any, samples: Any) -> tf.Tensor:
        hidden = tf.matmul(latents, start[0]) + start[1]
        hidden = tf.nn.leaky_relu(hidden, 0.2)
        return tf.reduce_mean(tf.matmul(hidden, start[2]) + start[3])

    vae, other = step_of(divergence), step_of(fixed)
    first = make_vae(divergence=fixed, alpha=2.0)
    for ours, theirs, before in zip(
        vae.trainable_variables,
        other.trainable_variables,
        first.trainable_variables,
        strict=True,
    ):
        assert np.abs(ours.numpy() - before.numpy()).max() > 1e-4
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    # The adversary's step: of the codes that the model had before its own.
    batch = first.draw_batch(tf.constant(data(6)))
    codes = (
        first.encode(data(6)).mean() + first.encode(data(6)).stddev() * batch.noise[0]
    )
    again = adversary(reference)
    again.network.set_weights(start)
    with tf.GradientTape() as tape:
        loss = again.adversary_loss(codes, batch.prior_noise)
    gradients = tape.gradient(loss, [v.value for v in again.network.variables])
    for now, before, gradient in zip(
        divergence.network.get_weights(), start, gradients, strict=True
    ):
        np.testing.assert_allclose(now, before - RATE * gradient, rtol=1e-5, atol=1e-7)
        assert np.abs(now - before).max() > 1e-3


def test_alpha_says_whether_the_adversary_learns_but_not_how_fast() -> None:
    start, steps = adversary().network.get_weights(), []
    for alpha in (0.1, 10.0, 0.0):
        divergence = adversary()
        divergence.network.set_weights(start)
        vae = step_of(divergence, alpha)
        assert not divergence.trainable_variables
        assert len(vae.trainable_variables) == 8
        assert len(vae.weights) == 8 + 4 + 2 + 2  # alpha, beta, counters
        moved = divergence.network.get_weights()
        steps.append([a - b for a, b in zip(moved, start, strict=True)])
    for slow, fast, none in zip(*steps, strict=True):
        np.testing.assert_allclose(slow, fast, rtol=1e-5, atol=1e-8)
        assert np.all(none == 0)


def test_several_steps_in_a_call_are_those_of_one_each() -> None:
    start, runs = adversary("marginals").network.get_weights(), []
    for steps in (1, 3):
        divergence = adversary("marginals")
        divergence.network.set_weights(start)
        vae = make_vae(divergence=divergence, alpha=2.0)
        vae.compile("adam", steps_per_execution=steps)
        vae.fit(data(30), batch_size=5, epochs=2, shuffle=False, verbose=0)
        runs.append(vae.get_weights())
    for one, three in zip(*runs, strict=True):
        np.testing.assert_allclose(one, three, rtol=1e-5, atol=1e-6)


def test_the_adversarys_optimiser_is_saved_with_the_model(tmp_path: Path) -> None:
    divergence = AdversarialDivergence(LATENT_DIM, "marginals", (5,))
    vae = make_vae(divergence=divergence, alpha=1.0)
    vae.compile("adam")
    vae.fit(data(12), batch_size=4, verbose=0)
    vae.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.divergence.reference == "marginals"
    ours, theirs = (m.divergence.learner.optimizer for m in (vae, again))
    assert isinstance(again.divergence.learner, Learner)
    assert ours.get_config() == theirs.get_config()
    assert int(ours.iterations) == 3
    for a, b in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for model in (vae, again):
        model.fit(data(12), batch_size=4, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(vae.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["factor_vae", "annealed_vae"])
def test_a_run_that_goes_on_is_the_run_at_once(name: str, tmp_path: Path) -> None:
    """States hold the adversary with its optimiser; schedules know their epoch."""
    weights = []
    for parts in ((2, 5), (5,)):
        for epochs in parts:
            more: dict[str, Any] = {}
            if name == "annealed_vae":
                more = {"capacity": 3.0, "capacity_epochs": 4}
            config = ExperimentConfig.from_objective(
                name,
                max_train_examples=60,
                batch_size=20,
                hidden=(5,),
                epochs=epochs,
                output_dir=str(tmp_path / str(len(parts))),
                **more,
            )
            train(config)
        vae = keras.models.load_model(tmp_path / str(len(parts)) / "model.keras")
        if name == "annealed_vae":
            assert float(vae.divergence.capacity) == 3.0
        weights.append(vae.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# -- the capacity -----------------------------------------------------------------


@pytest.mark.parametrize("prior", [NormalPrior(2), StudentTPrior(2, 4.0)])
@pytest.mark.parametrize("capacity", [0.0, 50.0])
def test_capacity_of_the_mean_kl(prior: Any, capacity: float) -> None:
    q = tfd.MultivariateNormalDiag(tf.constant(Z, tf.float32), [0.3, 0.8])
    z = q.sample(seed=[0, 1])
    kl = float(tf.reduce_mean(kl_divergence(q, prior, z[None])))
    assert 0 < kl < 50
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = KLCapacity(capacity)(q, prior.distribution, z, z)
    assert float(value) == pytest.approx(abs(kl - capacity), rel=1e-5)
    if isinstance(prior, StudentTPrior):  # whose KL is of the sample
        slope = tape.gradient(value, z)
        with tf.GradientTape() as tape:
            tape.watch(z)
            kl = tf.reduce_mean(kl_divergence(q, prior, z[None]))
        sign = 1 if capacity == 0 else -1
        np.testing.assert_allclose(slope, sign * tape.gradient(kl, z), rtol=1e-5)


def test_training_goes_to_the_capacity() -> None:
    divergence = KLCapacity(0.0)
    vae = make_vae(divergence=divergence, alpha=50.0, beta=0.0)
    vae.compile(keras.optimizers.Adam(0.01))
    rise = LinearSchedule(divergence.capacity, 0.0, 2.0, epochs=20)
    history = vae.fit(
        data(200), batch_size=50, epochs=60, verbose=0, callbacks=[rise]
    ).history
    assert history["kl"][0] < 1.0
    assert history["kl"][-1] == pytest.approx(2.0, abs=0.2)
    assert vae.evaluate(data(200), verbose=0, return_dict=True)["divergence"] < 0.2


def test_schedule_by_epochs() -> None:
    vae, seen = make_vae(), []
    schedule = LinearSchedule(vae.beta, 1.0, 0.2, 4, first_epoch=1, epochs_a_row=2)
    for epoch in range(3):
        schedule.on_epoch_begin(epoch)
        seen.append(float(vae.beta))
    np.testing.assert_allclose(seen, [0.8, 0.4, 0.2], rtol=1e-6)


# -- bad input --------------------------------------------------------------------


def same_optimizer() -> None:
    divergence = adversary()
    make_vae(divergence=divergence).compile(divergence.optimizer)


def used_optimizer() -> None:
    AdversarialDivergence(2, optimizer=adversary().optimizer)


def fit_one(divergence: Any) -> None:
    vae = make_vae(divergence=divergence, alpha=1.0)
    vae.compile("sgd", run_eagerly=True)
    vae.fit(data(3), batch_size=1, verbose=0)


def fit_batches_of_one() -> None:
    vae = make_vae(divergence="joint_mmd", alpha=1.0)
    vae.compile("sgd")
    ones = tf.data.Dataset.from_tensor_slices(data(3)).batch(1, drop_remainder=True)
    vae.fit(ones, verbose=0)


def train_on_one() -> None:
    vae = make_vae(divergence=TotalCorrelation(3), alpha=1.0)
    vae.compile("sgd", run_eagerly=True)
    vae.train_on_batch(data(1))


def wide(outputs: int) -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(outputs)])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: AdversarialDivergence(0), ("latent_dim", "0")),
        (lambda: AdversarialDivergence(2, "joint"), ("reference", "'joint'", "prior")),
        (lambda: AdversarialDivergence(2, network=(0,)), ("network", "(0,)")),
        (lambda: AdversarialDivergence(2, network="mlp"), ("network", "'mlp'")),
        (lambda: AdversarialDivergence(2, network=(10**6, 10**6)), ("weights",)),
        (lambda: AdversarialDivergence(2, network=wide(3)), ("logits [n, 1]", "3")),
        (lambda: AdversarialDivergence(2, optimizer=3), ("optimizer", "3")),
        (lambda: AdversarialDivergence(2, optimizer="x"), ("optimizer", "'x'")),
        (used_optimizer, ("optimizer", "in use")),
        (same_optimizer, ("optimizer", "adversary", "own")),
        (lambda: adversary()(None, None, *2 * [tf.zeros([4, 3])]), ("2", "3")),
        (lambda: adversary()(None, None, tf.zeros([4]), tf.zeros([4, 2])), ("[B",)),
        (lambda: fit_one("joint_mmd"), ("batch_size=1", "2 or more")),
        (lambda: fit_one(TotalCorrelation(3)), ("batch_size=1", "2 or more")),
        (lambda: fit_one(adversary("marginals")), ("batch_size=1", "2 or more")),
        (train_on_one, ("batch_size=1", "2 or more")),
        (fit_batches_of_one, ("batch_size=1", "2 or more")),
        (lambda: KLCapacity(-1.0), ("capacity", "-1")),
        (lambda: KLCapacity(1.0).capacity.assign(-2.0), ("capacity", "-2")),
        (lambda: LinearSchedule(3.0, 0, 1, 5), ("LinearSchedule", "3.0")),
        (lambda: LinearSchedule(make_vae().beta, 0, 1, 0), ("epochs", "0")),
        (lambda: LinearSchedule(make_vae().beta, "a", 1, 2), ("start", "'a'")),
    ],
)
def test_what_does_not_fit_is_one_line(call: Any, named: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        call()
    one_line(caught, *named)


def test_small_batches_do_where_d_has_no_weight() -> None:
    vae = make_vae(divergence="joint_mmd", alpha=0.0)
    vae.compile("sgd", run_eagerly=True)
    vae.fit(data(3), batch_size=1, verbose=0)
