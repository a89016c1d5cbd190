import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior

K, RANK = 8, 3


def true_prior() -> FactorAnalysisPrior:
    prior = FactorAnalysisPrior(K, RANK).double()
    torch.nn.init.normal_(prior.mean)
    torch.nn.init.normal_(prior.log_uniqueness, mean=-3, std=0.5)
    return prior


def draw(prior: FactorAnalysisPrior, count: int) -> Tensor:
    factors = torch.randn(count, prior.rank, dtype=torch.double)
    own = torch.randn(count, K, 2, dtype=torch.double) * prior.uniqueness.sqrt()
    return (prior.mean + torch.einsum("kcr,nr->nkc", prior.loadings, factors) + own).detach()


def log_likelihood(prior: FactorAnalysisPrior, shapes: Tensor) -> float:
    normal = torch.distributions.MultivariateNormal(prior.mean.flatten(), prior.covariance())
    return normal.log_prob(shapes.flatten(1)).mean().item()


def test_repr_and_covariance() -> None:
    prior = FactorAnalysisPrior(K, RANK)
    assert str(prior) == "FactorAnalysisPrior(8, rank=3)"
    assert torch.allclose(prior.covariance().diagonal().view(K, 2), prior.variance())


def test_fit_recovers_the_distribution() -> None:
    true = true_prior()
    shapes = draw(true, 20000)
    fitted = FactorAnalysisPrior(K, RANK)
    assert fitted.fit(shapes) is fitted
    scale = true.covariance().abs().max()
    assert (fitted.covariance() - true.covariance()).abs().max() < 0.03 * scale
    torch.testing.assert_close(fitted.mean.double(), true.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(fitted.uniqueness.double(), true.uniqueness, rtol=0.1, atol=0)
    fresh = draw(true, 2000)
    assert log_likelihood(fitted.double(), fresh) > log_likelihood(true, fresh) - 0.02


def test_em_improves_on_principal_components() -> None:
    shapes = draw(true_prior(), 500)
    likelihood = [
        log_likelihood(FactorAnalysisPrior(K, RANK).double().fit(shapes, iterations=count), shapes)
        for count in (0, 1, 10, 100)
    ]
    assert likelihood == sorted(likelihood) and likelihood[-1] > likelihood[0] + 0.01


def test_full_rank_is_the_sample_covariance() -> None:
    shapes = draw(true_prior(), 200)
    prior = FactorAnalysisPrior(K, 2 * K).double().fit(shapes)
    sample = shapes.flatten(1).mT.cov()
    torch.testing.assert_close(prior.covariance(), sample, rtol=0, atol=1e-3 * sample.abs().max().item())


def test_uniqueness_has_a_lower_bound() -> None:
    """Landmarks that factors explain wholly would make single precision inexact."""
    true = true_prior()
    torch.nn.init.constant_(true.log_uniqueness, -40)
    prior = FactorAnalysisPrior(K, RANK).fit(draw(true, 100))
    assert prior.uniqueness.min() >= 0.99e-4 * prior.variance().mean()


def test_bad_input() -> None:
    shapes = draw(true_prior(), 50)
    prior = FactorAnalysisPrior(K, RANK)
    with pytest.raises(InputError, match=r"'shapes' to have shape \[N, K, 2\] with K=8"):
        prior.fit(shapes[:, :5])
    with pytest.raises(InputError, match="'shapes' to hold floating-point numbers"):
        prior.fit(shapes.long())
    with pytest.raises(InputError, match="'shapes' to be finite"):
        prior.fit(shapes.index_fill(0, torch.tensor(2), torch.nan))
    for few, span in ((shapes[:3], 2), (shapes[:1], 0), (shapes[:1].expand(50, -1, -1), 0), (shapes[:0], 0)):
        for dtype in (torch.float32, torch.float64):
            with pytest.raises(InputError, match=f"vary in 3 directions.*got {len(few)} shapes that vary in {span}"):
                prior.fit(few.to(dtype))
    with pytest.raises(InputError, match="'num_landmarks' to be 1 or more"):
        FactorAnalysisPrior(0, 1)
    with pytest.raises(InputError, match="'rank' to be 1 or more"):
        FactorAnalysisPrior(K, 0)
    with pytest.raises(InputError, match="'rank' of at most 16, two a landmark"):
        FactorAnalysisPrior(K, 17)
