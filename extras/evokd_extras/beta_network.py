"""A small network that predicts β, how much of the student is in the proxy, for each token.

The paper names the idea in its Limitation ("an additional network to predict the integration ratio
of prior knowledge for each token") and no more; all that follows is OUR construction.

What is to be learned from, without extra data? β decides how a token pulls at the head. With h the
hidden states, q the student, ỹ the target and q̂ = β q + (1 − β) ỹ, tokens A pull it by

    G_A(β) = Σ_i g_i h_iᵀ,    g_i = ∂KL(ỹ‖q̂)/∂logits = −β q (r − Σ q r),    r = ỹ/q̂

and a step along −G_A changes the reference's likelihood of other tokens B, to the first order, by
⟨G_A, G_B⟩ with G_B = Σ_j (q_j − y_j) h_jᵀ, the gradient of their NLL. The network is to choose β so
that both point the same way: what it maximises is their cosine. A token whose pull helps no other
(a noisy reference, a slip of the teacher) lengthens G_A without turning it towards G_B, and gets a
small β; one that agrees with the rest gets a large one. The halves of a small sample of the batch
play A and B in turn, as if all of it were hard. Neither G is ever made:
⟨Σ a_i h_iᵀ, Σ b_j h_jᵀ⟩ = Σ_ij ⟨a_i, b_j⟩ ⟨h_i, h_j⟩.

The cosine leaves the level of β nearly open: it minds no common factor, and a large β everywhere,
which is the loss of easy tokens, does about as well as telling tokens apart. Left to itself the
network may run to its upper bound before it has seen a difference; so a weak pull holds the mean of
β at where it starts, 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from evokd.distil.buffers import BUFFER_BYTES, Buffers, wide
from evokd.distil.token_batch import TeacherLogits, TokenBatch
from evokd.distil.tokens import Tokens
from evokd.distil.train.method_state import Exchange, LossInputs, MethodPart
from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import ObjectiveSettings

LEAST, MOST = 0.02, 0.98
"""Bounds of β: at 0 a token teaches nothing, and what 1 gives is the easy tokens' loss."""
FEATURES = ("d", "student NLL", "teacher NLL", "entropy of q", "entropy of p", "progress")
SAMPLE_TOKENS = 64
SAMPLE_LOGITS = 1 << 23
"""At most so many logits in a sample, so that a large vocabulary takes fewer tokens."""
RUN = 16
"""Tokens in a row that are drawn together: a teacher hands out slices."""
LEVEL_PULL = 0.3
"""Weight of (mean β − 0.5)² beside the cosine."""


class BetaNetwork(nn.Module):
    """From what is known of a token to its β; an MLP of one hidden layer, and its own Adam.

    It starts as β = 0.5 for every token, and is a function of its seed and of what it was shown.

    Args:
        seed: of its first weights.
        width: of its hidden layer.
        learning_rate: of its Adam.
    """

    def __init__(self, seed: int = 0, width: int = 16, learning_rate: float = 3e-3):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.inner = nn.Linear(len(FEATURES), width)
            self.outer = nn.Linear(width, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)
        self._logits_of_chunk = Buffers()

    def forward(self, features: Tensor) -> Tensor:
        """(N, 6) → (N,), β."""
        return LEAST + (MOST - LEAST) * torch.sigmoid(self.outer(self.inner(features).tanh())[:, 0])

    @torch.no_grad()
    def betas(
        self,
        batch: TokenBatch,
        teacher: TeacherLogits,
        settings: ObjectiveSettings,
        progress: float = 0.0,
        chunk: int | None = None,
    ) -> Tensor:
        """(N,), β of each token in [0.02, 0.98], float32 or wider, without gradient.

        Args:
            settings: λ of the target is used.
            progress: share of the optimizer steps done, 0 to 1.
            chunk: tokens whose logits stand in memory at once; default: what fits.
        """
        batch = batch.constant()
        betas = batch.hidden.new_empty(len(batch), dtype=wide(batch.hidden))
        chunk = chunk or _rows_at_once(batch.vocabulary_size, batch.hidden)
        with torch.autocast(batch.hidden.device.type, enabled=False):
            for start in range(0, len(batch), chunk):
                rows = slice(start, min(start + chunk, len(batch)))
                logits = self._logits(batch, teacher, [rows])
                features = features_of(*logits, batch.labels[rows], settings.lam, progress)
                betas[rows] = self(features).to(betas.dtype)
        return betas

    def learn(
        self,
        batch: TokenBatch,
        teacher: TeacherLogits,
        settings: ObjectiveSettings,
        seed: int,
        *,
        progress: float = 0.0,
        average: Exchange | None = None,
    ) -> float:
        """One step of its Adam on a sample of the tokens; returns the cosine before it.

        Args:
            seed: of the sample.
            average: with several devices, from a tensor of each to their mean; every device must
                call this method then, whatever it holds. A device with less than four tokens adds
                nothing, and returns 0; without `average` there is no step then.

        The other arguments are those of `betas`.
        """
        cosine = 0.0
        self.optimizer.zero_grad()
        runs = _sample(len(batch), batch.vocabulary_size, seed)
        if runs:
            with torch.autocast(batch.hidden.device.type, enabled=False):
                cosine = self._cosine(batch.constant(), teacher, settings, runs, progress)
        if average is not None:
            self._share_gradients(average)
        if runs or average is not None:
            self.optimizer.step()
        return cosine

    def _cosine(
        self,
        batch: TokenBatch,
        teacher: TeacherLogits,
        settings: ObjectiveSettings,
        runs: Sequence[slice],
        progress: float,
    ) -> float:
        """The sample's cosine; its gradients go to the weights."""
        labels = torch.cat([batch.labels[rows] for rows in runs])
        cap = batch.head.cap
        with torch.no_grad():
            student, theirs = self._logits(batch, teacher, runs)
            tokens = Tokens(student, theirs, labels, settings)
            slopes = None if cap is None else 1 - (student / cap).square()
            features = features_of(student, theirs, labels, settings.lam, progress)
            states = torch.cat([batch.hidden[rows] for rows in runs]).to(tokens.log_q.dtype)
            q, target = tokens.log_q.exp(), tokens.target.probabilities
        with torch.enable_grad():
            betas = self(features)
            cosine, slope = lookahead(betas.detach(), states, q, target, labels, slopes)
            level = LEVEL_PULL * (betas.mean() - (LEAST + MOST) / 2).square()
            (level - (betas * slope.to(betas.dtype)).sum()).backward()
        return cosine

    @torch.no_grad()
    def _logits(
        self, batch: TokenBatch, teacher: TeacherLogits, runs: Sequence[slice]
    ) -> tuple[Tensor, Tensor]:
        """(n, size) each, the student's and the teacher's, in memory that all calls share."""
        shape = sum(rows.stop - rows.start for rows in runs), batch.vocabulary_size
        states = torch.cat([batch.hidden[rows] for rows in runs])
        own = self._logits_of_chunk.of("student", shape, batch.hidden)
        student = batch.head.logits(states, batch.vocabulary_size, own)
        theirs = self._logits_of_chunk.of("teacher", shape, batch.hidden)
        end = 0
        for rows in runs:
            begin, end = end, end + rows.stop - rows.start
            teacher.logits(rows, batch.vocabulary_size, theirs[begin:end])
        return student, theirs

    def _share_gradients(self, average: Exchange) -> None:
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters()]
        mean = average(torch.cat([one.flatten() for one in own]))
        parts = mean.split([one.numel() for one in own])
        for parameter, part in zip(self.parameters(), parts, strict=True):
            parameter.grad = part.reshape(parameter.shape)

    def get_extra_state(self) -> dict[str, Any]:
        """Part of state_dict(): the state of its Adam."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


class PredictedBeta(MethodPart):
    """A `BetaNetwork` beside a student: it predicts before each loss, and learns once a step."""

    def __init__(self, network: BetaNetwork):
        self.network = network

    def prepare(self, inputs: LossInputs) -> LossInputs:
        if not inputs.learns or inputs.teacher is None:
            return inputs
        network = self.network.to(inputs.batch.hidden.device)
        settings = inputs.options.settings
        betas = network.betas(inputs.batch, inputs.teacher, settings, inputs.progress)
        return replace(inputs, batch=replace(inputs.batch, betas=betas))

    def learn(self, inputs: LossInputs, seed: int, average: Exchange | None) -> None:
        if inputs.teacher is not None:
            settings, progress = inputs.options.settings, inputs.progress
            self.network.learn(
                inputs.batch, inputs.teacher, settings, seed, progress=progress, average=average
            )

    def state_dict(self) -> dict[str, Any]:
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state)


def method_part(method: MethodSettings, seed: int) -> PredictedBeta:
    """What `beta: network` adds to a method."""
    return PredictedBeta(BetaNetwork(seed))


@torch.no_grad()
def features_of(
    student: Tensor, teacher: Tensor, labels: Tensor, lam: float, progress: float
) -> Tensor:
    """(N, 6) float32, `FEATURES` of each token, as ln(1 + x).

    Args:
        student, teacher: (N, V) logits, finished and float32 or wider; both are overwritten.
        labels: (N,)
        lam: λ of the target (Eq. 4).
    """
    at = labels[:, None]
    for logits in (student, teacher):
        logits.sub_(logits.amax(1, keepdim=True))
    powers = torch.exp(teacher)
    mass = powers.sum(1)
    teacher_nll = mass.log() - teacher.gather(1, at)[:, 0]
    # Products in place: fresh memory costs a CPU more than the arithmetic. And 0 · −∞ is 0 here.
    teacher_entropy = mass.log() - teacher.clamp_(min=-1e9).mul_(powers).sum(1) / mass
    cross = powers.mul_(student).sum(1) / mass
    mass = torch.exp(student, out=powers).sum(1)
    cross = mass.log() - cross
    nll = mass.log() - student.gather(1, at)[:, 0]
    entropy = mass.log() - student.mul_(powers).sum(1) / mass
    d = difficulty_from_sums(lam, nll, teacher_nll, cross, teacher_entropy)
    columns = [d, nll, teacher_nll, entropy, teacher_entropy, torch.full_like(d, progress)]
    return torch.stack(columns, dim=1).float().clamp(min=0).log1p()


def difficulty_from_sums(
    lam: float, nll: Tensor, teacher_nll: Tensor, cross: Tensor, teacher_entropy: Tensor
) -> Tensor:
    """(N,), d = KL(ỹ‖q) (Eq. 5): ỹ is λ p but at the label.

    Args:
        nll, teacher_nll: (N,), −ln q(y) and −ln p(y).
        cross: (N,), −Σ p ln q.
        teacher_entropy: (N,), −Σ p ln p.
    """
    label = (-teacher_nll).exp()  # p(y)
    on_label = lam * label + 1 - lam
    others = -teacher_entropy + label * teacher_nll  # Σ p ln p without the label
    scale = lam * math.log(lam) if lam > 0 else 0.0
    own = lam * others + scale * (1 - label) + torch.xlogy(on_label, on_label)
    return own + lam * cross + (1 - lam) * nll


@torch.no_grad()
def skew_gradient(q: Tensor, target: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
    """∂KL(ỹ‖q̂)/∂logits, (N, V), and its own derivative by β, (N, V).

    With r = ỹ/q̂ they are −β q (r − Σ q r) and −q (r² − Σ q r²): dr/dβ = r (r − 1)/β.

    Args:
        q, target: (N, V), the student and ỹ.
        betas: (N,), below 1.
    """
    betas = betas[:, None].to(q.dtype)
    ratio = target / torch.lerp(target, q, betas).clamp_(min=torch.finfo(q.dtype).tiny)
    first = q * ratio
    second = ratio.mul_(first)
    for powers in (first, second):
        powers.addcmul_(q, powers.sum(1, keepdim=True), value=-1)
    return first.mul_(-betas), second.neg_()


@torch.no_grad()
def lookahead(
    betas: Tensor,
    hidden: Tensor,
    q: Tensor,
    target: Tensor,
    labels: Tensor,
    softcap_slopes: Tensor | None = None,
) -> tuple[float, Tensor]:
    """How well the skew loss of one half of the tokens serves the other, and the slope by β.

    Args:
        betas: (N,), N ≥ 2; the halves are the first N // 2 tokens and the others.
        hidden: (N, H)
        q, target: (N, V), the student and ỹ.
        labels: (N,)
        softcap_slopes: (N, V), of the head's soft cap, if it has one.

    Returns:
        The cosine of G_A(β) and G_B, the mean of both ways round, and its gradient (N,).
    """
    gradient, change = skew_gradient(q, target, betas)
    error = q.clone()
    error.scatter_add_(1, labels[:, None], error.new_full((len(labels), 1), -1))
    if softcap_slopes is not None:
        for one in (gradient, change, error):
            one.mul_(softcap_slopes)
    kernel = hidden @ hidden.T
    middle = len(labels) // 2
    first, second = slice(0, middle), slice(middle, len(labels))
    cosines, slopes = [], []
    least = torch.finfo(q.dtype).tiny
    for a, b in ((first, second), (second, first)):
        towards = kernel[a, b] @ error[b]
        along = kernel[a, a] @ gradient[a]
        there = _dot(error[b], kernel[b, b] @ error[b]).sum().clamp(min=least).sqrt()
        here = _dot(gradient[a], along).sum().clamp(min=least).sqrt()
        cosine = _dot(gradient[a], towards).sum() / here / there
        turned = _dot(change[a], towards) / here / there
        lengthened = _dot(change[a], along) / here.square()
        cosines.append(cosine)
        slopes.append(turned - cosine * lengthened)
    return float(sum(cosines)) / 2, torch.cat(slopes) / 2


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(N,), Σ_v a b of each row; a BLAS is slower at rows."""
    return (a * b).sum(1)


def _sample(count: int, size: int, seed: int) -> list[slice]:
    """Runs of neighbouring tokens, drawn without repeats; none where there are too few to halve."""
    if count < 4:
        return []
    most = max(4, min(SAMPLE_TOKENS, SAMPLE_LOGITS // size, count))
    run = max(1, min(RUN, most // 4))
    starts = torch.arange(0, count - run + 1, run)
    generator = torch.Generator().manual_seed(seed)
    drawn = starts[torch.randperm(len(starts), generator=generator)][: most // run]
    return [slice(start, start + run) for start in drawn.tolist()]


def _rows_at_once(size: int, hidden: Tensor) -> int:
    on_cpu = hidden.device.type == "cpu"
    fits = BUFFER_BYTES["cpu" if on_cpu else "cuda"] // (2 * 4 * size)
    return min(max(fits, 64), 256 if on_cpu else 4096)
