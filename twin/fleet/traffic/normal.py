"""The normal distribution, for kernels: quantile and tail without SciPy."""

from __future__ import annotations

from math import exp, log, sqrt

from twin.fleet.traffic.jit import inlined, kernel

__all__ = ["normal_quantile", "normal_survival"]


@inlined
def normal_survival(z: float) -> float:
    """P(Z > z), absolute error 7.5e-8. Source: Abramowitz and Stegun (1964), 26.2.17."""
    a = abs(z)
    t = 1.0 / (1.0 + 0.2316419 * a)
    poly = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    p = 0.3989422804014327 * exp(-0.5 * a * a) * poly
    return p if z >= 0.0 else 1.0 - p


@kernel
def normal_quantile(u: float) -> float:
    """The standard normal's quantile at u in (0, 1); relative error below 1.2e-9.

    Source: P. J. Acklam (2003), rational approximation in three regions.
    """
    if u < 0.02425:
        q = sqrt(-2.0 * log(u))
        return (
            ((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e00) * q
              - 2.549732539343734e00) * q + 4.374664141464968e00) * q + 2.938163982698783e00
        ) / ((((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e00) * q
              + 3.754408661907416e00) * q + 1.0)  # fmt: skip
    if u > 1.0 - 0.02425:
        q = sqrt(-2.0 * log(1.0 - u))
        return -(
            ((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e00) * q
              - 2.549732539343734e00) * q + 4.374664141464968e00) * q + 2.938163982698783e00
        ) / ((((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e00) * q
              + 3.754408661907416e00) * q + 1.0)  # fmt: skip
    q = u - 0.5
    r = q * q
    return (
        (((((-3.969683028665376e01 * r + 2.209460984245205e02) * r - 2.759285104469687e02) * r
           + 1.383577518672690e02) * r - 3.066479806614716e01) * r + 2.506628277459239e00) * q
    ) / (((((-5.447609879822406e01 * r + 1.615858368580409e02) * r - 1.556989798598866e02) * r
           + 6.680131188771972e01) * r - 1.328068155288572e01) * r + 1.0)  # fmt: skip
