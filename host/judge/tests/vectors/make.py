"""Makes statistics.json: what scipy and statsmodels say to the inputs of the judge's formulas.

Run in an environment of its own: pip install numpy scipy statsmodels; python make.py > statistics.json
Tango's interval and DeLong's variance are in neither: they are computed here from their definitions, by other ways than the judge's
(the likelihood is maximised by root finding and not by the quadratic, the variance by all pairs and not by ranks).
"""

import json

import numpy as np
import scipy
import statsmodels
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

CONFIDENCES = [0.9, 0.95, 0.99]


def proportions():
    for hits, total in [(0, 10), (1, 29), (8, 20), (9, 20), (180, 200), (369, 370), (370, 370), (4950, 5000), (9001, 10000)]:
        for confidence in CONFIDENCES:
            exact = proportion_confint(hits, total, 1 - confidence, "beta")
            wilson = stats.binomtest(hits, total).proportion_ci(confidence, "wilson")
            yield {"hits": hits, "total": total, "confidence": confidence,
                   "exact": [float(x) for x in exact], "wilson": [wilson.low, wilson.high]}


def tango_score(won, lost, total, difference):
    """Score of the difference, with the share of losses that is most likely under it."""
    same = total - won - lost

    def slope(q):
        # Derivative of the trinomial log likelihood in the share of losses q; the share of wins is q + difference.
        return won / (q + difference) + lost / q - 2 * same / (1 - 2 * q - difference)

    low, high = max(0.0, -difference), (1 - difference) / 2
    edge = 1e-15
    if won == 0 and lost == 0:
        q = low
    elif slope(low + edge) < 0:
        q = low
    else:
        q = optimize.brentq(slope, low + edge, high - edge, xtol=1e-16, rtol=8.9e-16, maxiter=500)
    variance = total * (2 * q + difference * (1 - difference))
    return (won - lost - total * difference) / np.sqrt(variance)


def pairs():
    for won, lost, total in [(1, 1, 370), (4, 9, 2000), (12, 2, 50), (30, 60, 2000), (3, 7, 100), (100, 140, 10000)]:
        p = float(mcnemar([[total - won - lost, lost], [won, 0]], exact=True).pvalue)
        worse = float(stats.binomtest(lost, won + lost, 0.5, "greater").pvalue)
        for confidence in CONFIDENCES:
            z = stats.norm.ppf((1 + confidence) / 2)
            estimate = (won - lost) / total
            ends = [
                optimize.brentq(lambda d: tango_score(won, lost, total, d) - sign * z, *between, xtol=1e-15, rtol=8.9e-16)
                for sign, between in [(1, (estimate - 0.4, estimate - 1e-9)), (-1, (estimate + 1e-9, estimate + 0.4))]
            ]
            yield {"won": won, "lost": lost, "total": total, "confidence": confidence, "tango": ends,
                   "mcnemar_p": p, "regression_p": worse}


def means():
    random = np.random.default_rng(3)
    for count in [2, 5, 30, 400]:
        values = random.exponential(size=count).round(6)
        for confidence in CONFIDENCES:
            ends = stats.t.interval(confidence, count - 1, loc=values.mean(), scale=stats.sem(values))
            yield {"values": values.tolist(), "confidence": confidence, "student": [float(x) for x in ends]}


def placements(scores, positive):
    wins = (scores[positive][:, None] > scores[~positive][None, :]) + 0.5 * (scores[positive][:, None] == scores[~positive][None, :])
    return wins.mean(1), wins.mean(0)


def aucs():
    random = np.random.default_rng(5)
    for count, decimals in [(12, 2), (60, 1), (400, 2), (400, 6)]:
        positive = np.arange(count) % 3 == 0
        shared = random.normal(size=count) + positive
        reference = shared.round(decimals)
        candidate = (0.9 * shared + 0.4 * random.normal(size=count)).round(decimals)
        sides = [placements(scores, positive) for scores in (reference, candidate)]
        by_positive = np.cov(sides[0][0], sides[1][0])
        by_negative = np.cov(sides[0][1], sides[1][1])
        both = by_positive / positive.sum() + by_negative / (~positive).sum()
        statistic = stats.mannwhitneyu(reference[positive], reference[~positive]).statistic
        yield {"reference": reference.tolist(), "candidate": candidate.tolist(), "positive": positive.tolist(),
               "auc": float(statistic / (positive.sum() * (~positive).sum())),
               "variance": float(both[0, 0]), "difference": float(sides[1][0].mean() - sides[0][0].mean()),
               "difference_variance": float(both[0, 0] + both[1, 1] - 2 * both[0, 1])}


def bootstraps():
    """The parts of a BCa interval on a given matrix of draws: scipy's own, which it keeps to itself."""
    random = np.random.default_rng(11)
    for count, statistic in [(25, np.mean), (40, np.var), (60, np.median)]:
        values = random.exponential(size=count).round(4)
        drawn = values[random.integers(0, count, (199, count))]
        draws = statistic(drawn, axis=-1)
        left_out = [float(statistic(np.delete(values, i))) for i in range(count)]
        for confidence in CONFIDENCES:
            low, high, acceleration = scipy.stats._resampling._bca_interval(
                (values,), statistic, axis=-1, alpha=(1 - confidence) / 2, theta_hat_b=draws, batch=None, xp=np)
            percentile = scipy.stats._resampling._percentile_of_score(draws, np.array([statistic(values)]), axis=-1, xp=np)
            yield {"estimate": float(statistic(values)), "draws": [float(x) for x in draws], "left_out": left_out,
                   "confidence": confidence, "bias": float(np.ravel(stats.norm.ppf(percentile))[0]),
                   "acceleration": float(np.ravel(acceleration)[0]), "levels": [float(low), float(high)],
                   "bca": [float(np.percentile(draws, 100 * level)) for level in (low, high)]}


def distributions():
    binomial = [(k, n, p) for n in [10, 370, 5000, 10000] for p in [0.01, 0.5, 0.99] for k in [int(n * p), max(0, int(n * p) - 5)] if k < n]
    return {
        "binomial_cdf": [[k, n, p, float(stats.binom.cdf(k, n, p))] for k, n, p in binomial],
        "normal_quantile": [[p, float(stats.norm.ppf(p))] for p in [1e-9, 1e-4, 0.05, 0.3, 0.5, 0.975, 0.9999]],
    }


print(json.dumps({
    "made_with": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__},
    "proportions": list(proportions()), "pairs": list(pairs()), "means": list(means()), "aucs": list(aucs()),
    "bootstraps": list(bootstraps()), **distributions(),
}, indent=None, separators=(",", ":")).replace("},{", "},\n{"))
