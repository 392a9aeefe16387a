"""What ART-RL learns: the mean clock speed mu(t, psi) of its Gaussian policy, and the critic V(t, psi).

psi is the noise-level clock, psi = sigma_max - sigma, and theta = dpsi/dt its speed; T = sigma_max, so that
psi(1) = T is sigma 0. The paper (Huang, Tang, Zhou 2026, arXiv 2601.18681) leaves both functions to approximators whose
layout we could not read. These families are ours; they are small, and hold the optimum for every curvature |Q|:

Mean. A learned clock z(psi), from 0 at sigma_max to 1 at sigma 0, ticks evenly along the mean path, so the optimum is
z' ~ |Q|^(1/2). Whatever exploration did, the mean heads for the end at an even pace in z:
    dz/dt = (1 + aim - z) / (1 - t).
log z' is piecewise linear, coefficients `shape`; `aim` is how far beyond the end it heads, held at 0 by the multiplier.

Critic. Following that mean from (t, psi) costs kappa * integral from psi on of (E|Q| / z') dpsi with
kappa = (1 + aim - z) / (1 - t). Its unknown is E|Q|, piecewise linear too, so V is linear in what it learns.
"""

from __future__ import annotations

import numpy as np

TABLE = 240  # cells of the tables that integrals over the clock are kept in


def hats(at: np.ndarray, count: int) -> np.ndarray:
    """Piecewise linear basis on [0, 1]: (n,) -> (n, count); rows sum to 1; constant outside."""
    place = np.clip(at, 0.0, 1.0) * (count - 1)
    left = np.minimum(place.astype(int), count - 2)
    share = place - left
    out = np.zeros((len(at), count))
    rows = np.arange(len(at))
    out[rows, left] = 1 - share
    out[rows, left + 1] += share
    return out


class Clock:
    """A fixed scale u of the noise level on which every stretch matters: EDM's (Karras et al. 2022, eq. 5).

    u = 0 at sigma_max, 1 at sigma_min, uniform in sigma^(1/rho) between, uniform in sigma below, `end` at 0.
    Negative levels (a clock that ran past its end) mirror positive ones, so that nothing grows without bound there.
    """

    def __init__(self, sigma_min: float, sigma_max: float, rho: float):
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho
        self.top = sigma_max ** (1 / rho)
        self.span = self.top - sigma_min ** (1 / rho)
        self.end = 1 + sigma_min / float(self.speed(np.array([sigma_min]))[0])

    def speed(self, sigma: np.ndarray) -> np.ndarray:
        """-d sigma / du > 0."""
        level = np.maximum(np.abs(sigma), self.sigma_min)
        return np.asarray(self.rho * level ** ((self.rho - 1) / self.rho) * self.span)

    def u(self, sigma: np.ndarray) -> np.ndarray:
        level = np.abs(sigma)
        above = (self.top - np.maximum(level, self.sigma_min) ** (1 / self.rho)) / self.span
        u = above + np.maximum(self.sigma_min - level, 0) / self.speed(np.zeros(1))
        return np.where(sigma >= 0, u, 2 * self.end - u)

    def sigma(self, u: np.ndarray) -> np.ndarray:
        mirrored = np.minimum(u, 2 * self.end - u)
        above = np.maximum(self.top - self.span * np.minimum(mirrored, 1), 0) ** self.rho
        level = above - self.speed(np.zeros(1)) * np.maximum(mirrored - 1, 0)
        return np.where(u <= self.end, level, -level)


class MeanPolicy:
    """mu(t, psi) with parameters [shape (width,), aim]; see the module's text."""

    def __init__(self, clock: Clock, width: int):
        self.clock, self.width = clock, width
        self.shape, self.aim = np.zeros(width), 0.0
        self._u = np.linspace(0.0, clock.end, TABLE + 1)
        self._hats = hats(self._u / clock.end, width)
        self._tabulate()

    def move(self, shape: np.ndarray, aim: float) -> None:
        """Add to the parameters. The mean of `shape` means nothing and is kept at 0."""
        self.shape = self.shape + shape
        self.shape = self.shape - self.shape.mean()
        self.aim = float(np.clip(self.aim + aim, -0.1, 0.1))
        self._tabulate()

    def _tabulate(self) -> None:
        raw = np.exp(self._hats @ self.shape)
        total = self._integral(raw[:, None])[-1, 0]
        self._slope = raw / total  # dz/du
        self._z = self._integral(self._slope[:, None])[:, 0]
        parts = self._integral(self._hats * self._slope[:, None])
        self._dz = parts - self._z[:, None] * parts[-1]  # dz/dshape
        costs = self._integral(self._hats / self._slope[:, None])
        self._rest = costs[-1] - costs

    def _integral(self, values: np.ndarray) -> np.ndarray:
        middle = 0.5 * (values[1:] + values[:-1]) * (self._u[1] - self._u[0])
        return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(middle, axis=0)])

    def _look(self, table: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Rows of a table (TABLE + 1, n) at u, mirrored past the end."""
        place = np.clip(np.minimum(u, 2 * self.clock.end - u), 0.0, self.clock.end) / (self._u[1] - self._u[0])
        left = np.minimum(place.astype(int), TABLE - 1)
        share = (place - left)[:, None]
        return np.asarray((1 - share) * table[left] + share * table[left + 1])

    def z(self, u: np.ndarray) -> np.ndarray:
        """The learned clock, 0 at sigma_max, 1 at sigma 0, up to 2 past it."""
        z = self._look(self._z[:, None], u)[:, 0]
        return np.where(u <= self.clock.end, z, 2 - z)

    def _sensitivity(self, u: np.ndarray) -> np.ndarray:
        """dz/dshape, (n, width)."""
        return self._look(self._dz, u) * np.where(u <= self.clock.end, 1.0, -1.0)[:, None]

    def u(self, z: np.ndarray) -> np.ndarray:
        """z's inverse."""
        u = np.interp(np.minimum(z, 2 - z), self._z, self._u)
        return np.where(z <= 1, u, 2 * self.clock.end - u)

    def mean(self, sigma: np.ndarray, t: float, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """The mean action of one step.

        Args:
            sigma: (n,) levels, at time t in [0, 1).

        Returns:
            mu (n,) > 0: clock speeds that take the step exactly to where the pace in z leads; and
            (n, width + 1): d mu / d [shape, aim].
        """
        u = self.clock.u(sigma)
        z = self.z(u)
        share = dt / (1 - t)  # of what remains
        # Past its end the clock still must tick forwards, at a pace of its own.
        left = np.maximum(1 + self.aim - z, 0.3 * (1 - t))
        bound = left > 1 + self.aim - z
        ahead = self.u(z + left * share)
        level = self.clock.sigma(ahead)
        mu = (sigma - level) / dt
        kept = np.where(bound, 1.0, 1 - share)[:, None]
        slope = self._look(self._slope[:, None], ahead)
        # z(ahead) = kept z(u) + ..., both sides differentiated.
        shape = (kept * self._sensitivity(u) - self._sensitivity(ahead)) / slope
        gradient = (
            np.concatenate([shape, np.where(bound, 0.0, share)[:, None] / slope], axis=1)
            * self.clock.speed(level)[:, None]
            / dt
        )
        return mu, gradient

    def features(self, sigma: np.ndarray, t: float) -> np.ndarray:
        """V's features (n, width) at time t < 1: V = features @ (E|Q| at the knots, times the clock's speed^2)."""
        u = self.clock.u(sigma)
        pace = np.maximum(1 + self.aim - self.z(u), 0.0) / (1 - t)
        rest = np.where((u < self.clock.end)[:, None], self._look(self._rest, u), 0.0)
        return np.asarray(-pace[:, None] * rest)


class Critic:
    """V = features @ weights, solving the martingale condition E sum_k xi_k delta_k = 0.

    The test functions xi may be anything known before the action. Both sides of the condition are sums over all steps
    seen, older ones fading by `keep` an iteration: least-squares temporal differences (Bradtke & Barto 1996), in
    continuous time CLSTD of Jia & Zhou 2022 (JMLR 23, policy evaluation by the martingale approach). The ridge pulls
    towards a constant |Q|.
    """

    def __init__(self, width: int, keep: float, ridge: float):
        self.matrix, self.vector = np.zeros((width, width)), np.zeros(width)
        self.keep, self.ridge = keep, ridge
        self.weights = np.ones(width)

    def learn(self, xi: np.ndarray, features: np.ndarray, following: np.ndarray, rewards: np.ndarray) -> None:
        """One iteration of n steps: xi, features and features of the states they led to (n, width), rewards r dt."""
        self.matrix = self.keep * self.matrix + xi.T @ (features - following)
        self.vector = self.keep * self.vector + xi.T @ rewards
        pull = self.ridge * float(np.trace(self.matrix)) / len(self.vector)
        solved = np.linalg.solve(self.matrix + pull * np.eye(len(self.vector)), self.vector + pull)
        # |Q| is not negative; a floor, because noise may make it look so where it is small.
        self.weights = np.maximum(solved, 0.003 * float(np.abs(solved).max()))


def martingale_errors(value: np.ndarray, following: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """delta_k = V_{k+1} - V_k + r_k dt (Jia & Zhou 2022; reward holds r_k dt)."""
    return following - value + reward


def critic_moment(xi: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """sum_k xi_k delta_k: xi (n, width), delta (n,)."""
    return np.asarray(xi.T @ delta)


def actor_moment(score: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """sum_k dlog pi(a_k) delta_k (eta = 1): score (n, parameters), delta (n,)."""
    return np.asarray(score.T @ delta)
