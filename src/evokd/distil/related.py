"""The neighbours' objectives, each a function from `Tokens` to a loss per token (N,).

q is the student, p the teacher, y the reference token; all in nats, over the whole vocabulary.
Where an objective ranks the tokens of a batch, the mean of what it returns is the batch's loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evokd.distil.token_selection import chosen
from evokd.distil.tokens import LEAST_LOG, Known, Tokens, kl, mixture

_USUAL_HEAD = 64
"""Tokens that akl's head is first looked for in."""


def word_kd(t: Tokens) -> Tensor:
    """(1 − α) (−ln q(y)) + α CE(p, q), with the cross-entropy −Σ_v p ln q, not KL.

    Kim and Rush, Sequence-Level Knowledge Distillation, EMNLP 2016 (α = 0.5).
    """
    alpha = t.settings.alpha
    return (1 - alpha) * t.nll + alpha * t.p.cross_entropy_to(t.log_q)


def atkd(t: Tokens) -> Tensor:
    """λ · mean of DKD over easy tokens + (1 − λ) · mean of TKD + DKD over hard ones.

    TKD = KL of (p(y), 1 − p(y)) from (q(y), 1 − q(y)); DKD = KL of p from q among the other
    tokens, each renormalised, so that KL(p‖q) = TKD + (1 − p(y)) DKD. Hard is the top_percent of
    tokens with the largest 1 − p(y).

    Zhong et al., Revisiting Knowledge Distillation for Autoregressive Language Models, ACL 2024,
    arXiv 2402.11890, with λ = 0.2 and the two means of the official code; averaging "all" divides
    the same terms by the number of all tokens. A group without tokens counts nothing. The end token
    is trained, which the official code masks.
    """
    picked = chosen("atkd", t)
    on_label, among_others = target_and_diversity(t)
    lam = t.settings.lam
    of_hard, of_easy = 1 - lam, lam
    if t.settings.averaging == "groups":
        of_hard /= picked.share or 1.0
        of_easy /= (1 - picked.share) or 1.0
    return torch.where(picked.hard, of_hard * (on_label + among_others), of_easy * among_others)


def target_and_diversity(t: Tokens) -> tuple[Tensor, Tensor]:
    """(N,) each, TKD and DKD of atkd. DKD is 0 where the teacher leaves nothing to the others."""
    p_others, q_others = (_others(log, t.labels) for log in (t.p.log, t.log_q))
    # ln(1 − p(y)) from the others themselves: 1 − p(y) has lost its digits where p(y) is near 1.
    p_rest, q_rest = (others.logsumexp(1) for others in (p_others, q_others))
    on_label = Known(torch.stack([-t.teacher_nll, p_rest], dim=1)).kl_to(
        torch.stack([-t.nll, q_rest], dim=1)
    )
    among = Known(p_others - p_rest[:, None]).kl_to(q_others - q_rest[:, None])
    return on_label, torch.where(p_rest > LEAST_LOG / 2, among, 0.0)


def skl(t: Tokens) -> Tensor:
    """KL(p‖α p + (1 − α) q): skew KL, without the reference.

    Ko et al., DistiLLM, ICML 2024, arXiv 2402.03898 (α = 0.1).
    """
    return t.p.kl_to(mixture(t.log_q, t.p.log, 1 - t.settings.alpha))


def srkl(t: Tokens) -> Tensor:
    """KL(q‖(1 − α) p + α q): skew reverse KL, without the reference; q has its gradient twice.

    Ko et al., DistiLLM, ICML 2024, arXiv 2402.03898 (α = 0.1).
    """
    return kl(t.log_q, mixture(t.log_q, t.p.log, t.settings.alpha))


def jsd(t: Tokens) -> Tensor:
    """β KL(p‖m) + (1 − β) KL(q‖m), m = β p + (1 − β) q: 0 at both ends of β.

    Agarwal et al., On-Policy Distillation of Language Models (GKD), ICLR 2024, arXiv
    2306.13649. Some libraries put KL(p‖q) and KL(q‖p) at the ends, where the formula gives 0.
    """
    beta = t.settings.beta
    middle = mixture(t.log_q, t.p.log, 1 - beta)
    return beta * t.p.kl_to(middle) + (1 - beta) * kl(t.log_q, middle)


def akl(t: Tokens) -> Tensor:
    """w KL(p‖q) + (1 − w) KL(q‖p), w the share of Σ_v |p − q| that lies in the head of p.

    The head are the likeliest tokens of p, up to and with the one that brings their mass to μ. The
    weights have no gradient.

    Wu et al., Rethinking Kullback-Leibler Divergence in Knowledge Distillation for LLMs, COLING
    2025, arXiv 2404.02657 (μ = 0.5).
    """
    weight = head_share(t)
    return weight * t.forward_kl + (1 - weight) * t.reverse_kl


@torch.no_grad()
def head_share(t: Tokens) -> Tensor:
    """(N,), w of akl; ½ where p = q."""
    p, mu = t.p.probabilities, t.settings.mu
    gap = (p - t.log_q.exp()).abs_()
    # A head is mostly some few tokens, and the vocabulary is sorted only where it is not.
    likeliest = p.topk(min(_USUAL_HEAD, p.shape[1]), dim=1)
    head = _gap_in_head(*likeliest, gap, mu)
    longer = (likeliest.values.sum(1) < mu).nonzero()[:, 0]
    if len(longer):
        ordered = p[longer].sort(dim=1, descending=True, stable=True)
        head[longer] = _gap_in_head(*ordered, gap[longer], mu)
    whole = gap.sum(1)
    return torch.where(whole > 0, head / whole, 0.5)


def _gap_in_head(p: Tensor, order: Tensor, gap: Tensor, mu: float) -> Tensor:
    """(n,), the gaps of the tokens in `order`, likeliest first, that less than μ stands before."""
    before = p.cumsum(1).roll(1, dims=1)
    before[:, 0] = 0.0
    return gap.gather(1, order).masked_fill_(before >= mu, 0.0).sum(1)


def selective_kd(t: Tokens) -> Tensor:
    """Label-smoothed NLL on all tokens, and KL(p‖q) on those with the largest NLL.

    The smoothed target is (1 − ε) y + ε/|V|. Chosen are the top_percent of the batch; with a queue,
    those at or above that quantile of the NLLs it remembers, the batch's among them.

    Wang et al., Selective Knowledge Distillation for Neural Machine Translation, ACL 2021
    (ε = 0.1, half of the tokens).
    """
    smooth = t.settings.smoothing
    nll = (1 - smooth) * t.nll - smooth * t.log_q.mean(1)
    return nll + torch.where(chosen("selective_kd", t).hard, t.forward_kl, 0.0)


def tip(t: Tokens) -> Tensor:
    """The mean of KL(q‖p) over the top_percent of tokens by s = 1 − (1 − h)(1 − d).

    h = H(q)/ln |V| and d = KL(q‖p), each scaled to [0, 1] over the batch, without gradient.

    Xu et al., TIP: Token Importance in On-Policy Distillation, arXiv 2604.14084, equations 2 to 5
    as two re-implementations read them: the direction of d and the scaling are theirs.
    """
    picked = chosen("tip", t)
    return torch.where(picked.hard, t.reverse_kl / (picked.share or 1.0), 0.0)


def _others(log: Tensor, labels: Tensor) -> Tensor:
    """(N, V), with nothing on the label."""
    return log.scatter(1, labels[:, None], LEAST_LOG)
