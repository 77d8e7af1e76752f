"""An objective of one's own: any function from `Tokens` to one loss per token."""

from copy import deepcopy

from train_in_python import model, train

from evokd.distil.objectives import Tokens


def focal(t: Tokens):
    """(1 − e^−d)² d, after focal loss (Lin et al. 2017): the harder a token, the more it counts."""
    d = t.difficulty  # KL(ỹ‖q), Eq. 5; the gradient flows through d alone, not through its weight
    return (1 - (-d.detach()).exp()) ** 2 * d


if __name__ == "__main__":
    teacher, start = model(width=64, seed=1), model(width=32, seed=2)
    train(teacher, None, "sft", steps=100)
    train(start, teacher, "sft", steps=60)
    for objective in ("self_evolution", focal):
        found = train(deepcopy(start), teacher, objective, steps=60)
        print(getattr(objective, "__name__", objective), found)
