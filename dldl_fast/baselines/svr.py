"""SVR as the paper uses it."""

from __future__ import annotations

from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import LinearSVR


def linear_svr(*, C: float = 1.0, epsilon: float = 0.1) -> Pipeline:
    """Linear support vector regression of L2-normalised features, by Liblinear.

    A pipeline of scikit-learn's own estimators and no class, since a class would only hand its
    arguments on: `LinearSVR` is Liblinear, which the paper trains its SVR with. Settings are those
    of its steps, ``normalizer`` and ``linearsvr``; row weights are given to ``fit`` as
    ``linearsvr__sample_weight``.

    Args:
        C: inverse strength of the L2 penalty, > 0. The paper does not give its value.
        epsilon: errors up to this, in the unit of y, cost nothing, >= 0. Liblinear's default.

    Returns:
        An unfitted pipeline.

    Source:
        Section 4.5.3.

    Example:
        >>> model = linear_svr(C=10.0).fit([[1.0, 0.1], [1.0, 1.0], [0.1, 1.0]], [20, 30, 40])
        >>> bool(20 < model.predict([[1.0, 1.0]])[0] < 40)
        True
    """
    # Liblinear's default loss, whose primal problem has no random numbers.
    svr = LinearSVR(C=C, epsilon=epsilon, loss="squared_epsilon_insensitive", dual=False)
    return make_pipeline(Normalizer(), svr)
