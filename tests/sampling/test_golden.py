"""Our samplers against numbers made with the paper's official implementation (tests/golden/README.md)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.sampling.discretizations.iddpm import iddpm_levels
from harness.sampling.dynamics import Dynamics
from harness.sampling.noise import Noise
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.trajectory import trajectory
from tests.conftest import golden, relative_error
from tests.problems import Diracs, Mixture

TIMES, ODE, SDE, RNG, DIRAC = map(
    golden, ["time_steps", "sampler_deterministic", "sampler_stochastic", "rng_streams", "dirac1d"]
)
FLOAT64 = 1e-10


def sampler_of(run):
    """The golden run's parameters as one of our samplers."""
    solver = run.get("solver", "heun")
    disc = {"kind": run.get("discretization", "edm")}
    disc |= {key: run[key] for key in ("sigma_min", "sigma_max", "rho", "C_1", "C_2", "M", "epsilon_s") if key in run}
    churn = {key.replace("S_m", "S_tm"): run[key] for key in ("S_churn", "S_min", "S_max", "S_noise") if key in run}
    return Sampler.model_validate(
        {
            "solver": {"kind": "rk2", "alpha": run["alpha"]} if "alpha" in run else solver,
            "discretization": disc,
            "schedule": run.get("schedule", "linear"),
            "scaling": run.get("scaling", "none"),
            "stochasticity": {"kind": "churn", **churn} if churn else "deterministic",
            "steps": run.get("num_steps", 18),
        }
    )


def limits(run):
    """A stand-in for the network whose range the golden run clamps to."""
    net = run["net"]
    return SimpleNamespace(
        sigma_min=float(net["sigma_min"]), sigma_max=float(net["sigma_max"]), round_sigma=lambda sigma: sigma
    )


@pytest.mark.parametrize("run", TIMES.meta["entries"], ids=lambda run: run["name"])
def test_time_steps(run):
    time_steps = sampler_of(run).time_steps(limits(run))
    assert relative_error(time_steps.sigmas, TIMES.arrays[f"{run['name']}.sigma"]) < FLOAT64
    assert relative_error(time_steps.times, TIMES.arrays[f"{run['name']}.t"]) < FLOAT64
    assert time_steps.times[-1] == 0
    each = np.abs(time_steps.sigmas.numpy() / TIMES.arrays[f"{run['name']}.sigma"] - 1)
    assert each.max() < 1e-9  # every level, not only the largest


@pytest.mark.parametrize(("key", "args"), [("default", (1000, 0.001, 0.008)), ("altC", None)])
def test_iddpm_table(key, args):
    if args is None:
        run = next(run for run in TIMES.meta["entries"] if "altC" in run["name"])
        args = (run["M"], run["C_1"], run["C_2"])
    table = iddpm_levels(*args).numpy()
    assert table[-1] == 0
    np.testing.assert_allclose(table, TIMES.arrays[f"iddpm_u_{key}"], rtol=1e-10)


@pytest.mark.parametrize("run", ODE.meta["runs"], ids=lambda run: run["name"])
def test_deterministic_sampler(run):
    name, sampler = run["name"], sampler_of(run)
    denoiser = Mixture(ODE.arrays["means"], ODE.arrays["weights"], ODE.arrays["std"])
    latents = torch.as_tensor(ODE.arrays["latents"])
    out = sample(denoiser, sampler, range(len(latents)), latents=latents)
    assert relative_error(out.images, ODE.arrays[f"{name}.x"]) < FLOAT64
    assert out.nfe.tolist() == [run["nfe"]] * len(latents)
    assert out.calls == run["nfe"]
    assert relative_error(denoiser.sigma_calls, ODE.arrays[f"{name}.sigma_calls"]) < FLOAT64
    time_steps = sampler.time_steps(denoiser)
    assert relative_error(time_steps.times, ODE.arrays[f"{name}.t_steps"]) < FLOAT64
    dynamics = Dynamics(denoiser, time_steps.curve, sampler.scaling, Noise(range(len(latents)), denoiser.shape))
    x = latents * time_steps.sigmas[0] * dynamics.s(time_steps.times[0])
    states = torch.stack([step.here.x for step in trajectory(dynamics, sampler, time_steps.times, x)])
    assert relative_error(states, ODE.arrays[f"{name}.x_steps"]) < FLOAT64


@pytest.mark.parametrize("run", SDE.meta["runs"], ids=lambda run: run["name"])
def test_stochastic_sampler(run):
    name, mix = run["name"], run["mixture"]
    denoiser = Mixture(*(SDE.arrays[f"{mix}.{key}"] for key in ("means", "weights", "std")))
    out = sample(denoiser, sampler_of(run), SDE.meta["seeds"])
    assert relative_error(out.images, SDE.arrays[f"{name}.x"]) < FLOAT64
    assert relative_error(denoiser.sigma_calls, SDE.arrays[f"{name}.sigma_calls"]) < FLOAT64
    assert out.nfe.tolist() == [run["nfe"]] * len(out.images)


def test_golden_files_are_whole():
    assert (len(TIMES.meta["entries"]), len(ODE.meta["runs"]), len(SDE.meta["runs"])) == (94, 64, 50)


@pytest.mark.parametrize("shape", sorted({key.split(".")[0] for key in RNG.arrays if "." in key}))
def test_random_streams(shape):
    seeds, dims = RNG.meta["seeds"], tuple(map(int, shape.split("x")))
    noise = Noise(seeds, dims)
    assert np.array_equal(noise.latents(), RNG.arrays[f"{shape}.latents"])
    assert np.array_equal(noise.classes(RNG.meta["label_dim"]), RNG.arrays[f"{shape}.class_idx"])
    assert np.array_equal(noise.normal(), RNG.arrays[f"{shape}.noise0"])
    assert np.array_equal(noise.normal(), RNG.arrays[f"{shape}.noise1"])
    plain = Noise(seeds, dims)
    plain.latents()
    assert np.array_equal(plain.normal(), RNG.arrays[f"{shape}.noise0_unconditional"])


def test_seeds_are_taken_modulo_2_to_the_32():
    assert torch.equal(Noise([4294967299 % 2**32], (1, 2, 2)).latents(), Noise([3], (1, 2, 2)).latents())


@pytest.mark.parametrize("run", DIRAC.meta["runs"], ids=lambda run: run["name"])
def test_two_diracs(run):
    latents = torch.as_tensor(DIRAC.arrays["latents"])
    sampler = sampler_of(run)
    denoiser = Diracs((1, 1, 1))
    out = sample(denoiser, sampler, range(len(latents)), latents=latents)
    assert relative_error(out.images, DIRAC.arrays[f"{run['name']}.x"]) < FLOAT64
    assert relative_error(sampler.times(denoiser), DIRAC.arrays[f"{run['name']}.t_steps"]) < FLOAT64
    assert out.nfe.tolist() == [run["nfe"]] * len(latents)
