"""Solvers, one file a family, joined in the union `Solver`.

A new solver is one file and one word here. Each explicit method starts from the denoiser at the current point, given
as `here`, and returns the state at `t_next`; what it needs of earlier steps it keeps in `carry`. Aliases are other
names of one choice of fields.
"""

from typing import Annotated, Any, get_args

from pydantic import Field

from harness.choice import expand
from harness.sampling.solvers.adams import IPNDM, LMS
from harness.sampling.solvers.adaptive_sde import AdaptiveSDE
from harness.sampling.solvers.black_box import SolveIVP
from harness.sampling.solvers.ddpm import DDPM
from harness.sampling.solvers.deis import DEIS
from harness.sampling.solvers.dpm_multistep import DPMpp2M, DPMpp3M
from harness.sampling.solvers.dpm_sde import DPMpp2MSDE, DPMpp3MSDE, DPMppSDE
from harness.sampling.solvers.dpm_single import DPM2, DPMpp2S
from harness.sampling.solvers.euler import DDIM, Euler
from harness.sampling.solvers.euler_maruyama import EulerMaruyama
from harness.sampling.solvers.reverse_diffusion import ReverseDiffusion
from harness.sampling.solvers.rk45 import RK45
from harness.sampling.solvers.runge_kutta import RK2, RK4
from harness.sampling.solvers.unipc import UniPC

ODE = Euler | DDIM | RK2 | RK4 | DPM2 | DPMpp2S | DPMpp2M | DPMpp3M | LMS | DEIS | IPNDM | UniPC | RK45 | SolveIVP
SDE = EulerMaruyama | ReverseDiffusion | DDPM | DPMppSDE | DPMpp2MSDE | DPMpp3MSDE | AdaptiveSDE

ALIASES: dict[str, dict[str, Any]] = {
    "heun": {"kind": "rk2", "alpha": 1.0},
    "midpoint": {"kind": "rk2", "alpha": 0.5},
    "ralston": {"kind": "rk2", "alpha": 2 / 3},
    "ipndm_v": {"kind": "lms"},
    "deis_tab3": {"kind": "deis", "order": 4, "variable": "t"},
}

MEMBERS = get_args(ODE) + get_args(SDE)

Solver = Annotated[ODE | SDE, Field(discriminator="kind"), expand(MEMBERS, ALIASES)]
