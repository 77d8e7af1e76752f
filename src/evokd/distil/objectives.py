"""Self-Evolution Knowledge Distillation, its baselines and its neighbours, as equations.

Song, Ding, Zan and Huang: Self-Evolution Knowledge Distillation for LLM-based Machine Translation,
COLING 2025 (arXiv 2412.15303). Equation numbers below are that paper's; its letters, and what they
stand for, are in `tokens.py`. Objectives of other papers name theirs.

An objective is a function from `Tokens` to a loss per token (N,), in nats over the whole
vocabulary, and a row of `evokd.recipe.objectives.OBJECTIVES` of the same name. Where it chooses
among the tokens of a batch, the mean of what it returns is the batch's loss.

Training takes most of them from their closed forms (`row_loss/closed_forms.py`), which are tested
against these: whoever changes an equation here changes that, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evokd.distil.token_selection import TokenHistory, scores, select, selection_of
from evokd.distil.tokens import LEAST_LOG, Distribution, Tokens, check_labels, kl, mixture
from evokd.recipe.code import is_address, load_function
from evokd.recipe.objectives import OBJECTIVES, objective_settings

_USUAL_HEAD = 64
"""Tokens that akl's head is first looked for in."""


def sft(t: Tokens) -> Tensor:
    """−ln q(y). Eq. 2."""
    return t.nll


def forward_kd(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(p‖q). Eq. 3."""
    lam = t.settings.lam
    return (1 - lam) * t.nll + lam * t.forward_kl


def reverse_kd(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(q‖p). Section 4.3, Baselines."""
    lam = t.settings.lam
    return (1 - lam) * t.nll + lam * t.reverse_kl


def noevo(t: Tokens) -> Tensor:
    """KL(ỹ‖q), every token easy. Section 4.3; the same gradient as forward_kd."""
    return t.difficulty


def skew(t: Tokens) -> Tensor:
    """KL(ỹ‖q̂), every token hard, q̂ = β q + (1 − β) ỹ. Eq. 6 and 7; section 4.3."""
    return t.target.kl_to(mixture(t.log_q, t.target.log, t.beta))


def skew_teacher(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(p‖β q + (1 − β) p). Eq. 10."""
    lam = t.settings.lam
    return (1 - lam) * t.nll + lam * t.p.kl_to(mixture(t.log_q, t.p.log, t.beta))


def self_evolution(t: Tokens) -> Tensor:
    """KL(ỹ‖q̂) where d > Γ, KL(ỹ‖q) elsewhere. Eq. 9.

    Beyond the paper are gate "vouched", KL(ỹ‖q̂) only where the teacher disbelieves the reference,
    too (docs/method.md); gate "smooth", g KL(ỹ‖q̂) + (1 − g) KL(ỹ‖q) with g = σ((d − Γ)/τ) and
    without its gradient; gate "inverted", KL(ỹ‖q̂) where d ≤ Γ, as a control; and other measures
    of difficulty in the place of d.
    """
    gate = t.settings.gate
    if gate == "smooth":
        evolved = torch.sigmoid((t.measured - t.settings.gamma) / t.settings.tau)
        return evolved * skew(t) + (1 - evolved) * t.difficulty
    hard = t.hard()
    damped = {"hard": hard, "inverted": ~hard, "vouched": hard & t.doubted}[gate]
    return torch.where(damped, skew(t), t.difficulty)


def self_evolution_topk(t: Tokens) -> Tensor:
    """As self_evolution, with the top_percent most difficult tokens hard. Section 5.2.1."""
    return torch.where(selection_of("self_evolution_topk", t).hard, skew(t), t.difficulty)


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
    picked = selection_of("atkd", t)
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
    on_label = Distribution(torch.stack([-t.teacher_nll, p_rest], dim=1)).kl_to(
        torch.stack([-t.nll, q_rest], dim=1)
    )
    among = Distribution(p_others - p_rest[:, None]).kl_to(q_others - q_rest[:, None])
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
    assert isinstance(beta, float), "β of jsd is a number"
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
    return nll + torch.where(selection_of("selective_kd", t).hard, t.forward_kl, 0.0)


def tip(t: Tokens) -> Tensor:
    """The mean of KL(q‖p) over the top_percent of tokens by s = 1 − (1 − h)(1 − d).

    h = H(q)/ln |V| and d = KL(q‖p), each scaled to [0, 1] over the batch, without gradient.

    Xu et al., TIP: Token Importance in On-Policy Distillation, arXiv 2604.14084, equations 2 to 5
    as two re-implementations read them: the direction of d and the scaling are theirs.
    """
    picked = selection_of("tip", t)
    return torch.where(picked.hard, t.reverse_kl / (picked.share or 1.0), 0.0)


def _others(log: Tensor, labels: Tensor) -> Tensor:
    """(N, V), with nothing on the label."""
    return log.scatter(1, labels[:, None], LEAST_LOG)


LOSSES: dict[str, Callable[[Tokens], Tensor]] = {
    name: globals()[name] for name in OBJECTIVES if not is_address(name)
}


def loss_function(objective: str) -> Callable[[Tokens], Tensor]:
    """That of a name in `LOSSES`, or what stands at `package.module:name`."""
    return LOSSES.get(objective) or load_function(objective)


def token_loss(
    objective: str,
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    *,
    betas: Tensor | None = None,
    history: TokenHistory | None = None,
    **settings: Any,
) -> Tensor:
    """Loss of each response token.

    Where an objective chooses among tokens, these are its batch, and the mean over the labels that
    aren't −100 is the batch's loss.

    Args:
        objective: a name that `evokd methods` lists.
        student_logits: (N, V), differentiable.
        teacher_logits: (N, V); None is accepted by sft.
        labels: (N,), reference token ids; −100 marks a position without a loss.
        betas: (N,), 0 to 1, β of each token where the objective has a proxy; constants.
        history: what selective_kd ranks against from call to call, if its `queue` is above 0.
        **settings: what the objective reads, by `evokd methods` and docs/method.md, of lam=0.5,
            beta=0.5 (or "difficulty"), gamma=0.4, gate="hard" ("vouched", "smooth", "inverted"),
            doubt=2.0, tau=0.2, difficulty="kl" ("js", "reverse_kl", "nll"), alpha=0.1, mu=0.5,
            top_percent=50.0, smoothing=0.1, queue=0, averaging="groups" ("all"), target_lam=None.
            Where an objective has other defaults, `evokd methods` prints these.

    Returns:
        (N,) in nats, 0 at ignored positions; float32, or float64 from float64 logits.

    Raises:
        ValueError: an unknown objective or setting, a gate that the objective hasn't, shapes that
            don't fit, labels that are no ids, a missing teacher.
    """
    in_force = objective_settings(objective, **settings)
    if teacher_logits is None and OBJECTIVES[objective].needs_teacher:
        without = ", ".join(name for name, spec in OBJECTIVES.items() if not spec.needs_teacher)
        raise ValueError(
            f"{objective} needs the teacher's logits, and found None; without do: {without}"
        )
    _check_shapes(student_logits, teacher_logits, labels)
    kept = check_labels(labels, student_logits.shape[1])
    tokens = Tokens(
        student_logits[kept],
        None if teacher_logits is None else teacher_logits[kept],
        labels[kept],
        in_force,
        betas=None if betas is None else betas[kept],
    )
    if OBJECTIVES[objective].ranked_by:
        scored = scores(objective, tokens)
        learns = torch.is_grad_enabled()
        tokens.selection = select(objective, scored, in_force, history, learns)
    loss = loss_function(objective)(tokens)
    return loss.new_zeros(len(labels)).masked_scatter(kept, loss)


def difficulty(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, lam: float = 0.5
) -> Tensor:
    """(N,), d = KL(ỹ‖q) of each token in nats (Eq. 5), 0 where the label is −100.

    Args:
        student_logits: (N, V).
        teacher_logits: (N, V).
        labels: (N,), reference token ids.
        lam: λ of Eq. 4.
    """
    return token_loss("noevo", student_logits, teacher_logits, labels, lam=lam)


def _check_shapes(student: Tensor, teacher: Tensor | None, labels: Tensor) -> None:
    if student.dim() != 2 or labels.shape != student.shape[:1]:
        raise ValueError(
            f"student logits {tuple(student.shape)} and labels {tuple(labels.shape)} don't fit; "
            "(N, V) and (N,) are accepted"
        )
    if teacher is not None and teacher.shape != student.shape:
        raise ValueError(
            f"teacher logits {tuple(teacher.shape)} differ from the student's "
            f"{tuple(student.shape)}; slice both to the vocabulary they share"
        )
