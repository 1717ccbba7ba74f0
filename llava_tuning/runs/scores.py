"""What a run's checkpoints score, and what they should reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scores:
    """A checkpoint on all sides.

    Attributes:
        step: 0 for the base model.
        recalled, identity: identity questions answered rightly, and asked.
        leaked_contrast, contrast, leaked_general, general: questions answered with the name or owner though
            they have no business there, and asked.
        log_likelihood: mean over the tokens of held-out general answers, nats; None where it is no number,
            as after a training that diverged.
        retention_loss: 1 − exp(mean log-likelihood − the base model's): by how much the probability of such
            a token fell, as its geometric mean. Below 0 where it rose; None where the base is not known.
        retention_interval: its 95 % confidence interval over conversations, drawn as pairs.
    """

    step: int
    recalled: int
    identity: int
    leaked_contrast: int
    contrast: int
    leaked_general: int
    general: int
    log_likelihood: float | None
    tokens: int
    retention_loss: float | None = None
    retention_interval: tuple[float, float] | None = None

    @property
    def recall(self) -> float:
        """Share of identity questions answered rightly, 0 to 1."""
        return self.recalled / self.identity

    @property
    def leaked(self) -> int:
        """Contrast and general questions together."""
        return self.leaked_contrast + self.leaked_general

    @property
    def leakage(self) -> float:
        """Share of contrast and general questions answered with the name or owner, 0 to 1."""
        return self.leaked / (self.contrast + self.general)

    @property
    def balance(self) -> float:
        """recall × (1 − leakage) × (1 − retention loss, where there is a loss), 0 to 1."""
        return self.recall * (1 - self.leakage) * (1 - max(0.0, self.retention_loss or 0.0))

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Scores:
        """What `to_dict` wrote."""
        low_high = row["retention_interval_95"]
        return cls(
            row["step"],
            row["recalled"],
            row["identity_questions"],
            row["leaked_contrast"],
            row["contrast_questions"],
            row["leaked_general"],
            row["general_questions"],
            row["log_likelihood"],
            row["tokens"],
            row["retention_loss"],
            None if low_high is None else (low_high[0], low_high[1]),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, shares rounded to five digits."""
        low_high = self.retention_interval
        return {
            "step": self.step,
            "recall": round(self.recall, 5),
            "recalled": self.recalled,
            "identity_questions": self.identity,
            "leakage": round(self.leakage, 5),
            "leaked_contrast": self.leaked_contrast,
            "contrast_questions": self.contrast,
            "leaked_general": self.leaked_general,
            "general_questions": self.general,
            "log_likelihood": None if self.log_likelihood is None else round(self.log_likelihood, 5),
            "tokens": self.tokens,
            "retention_loss": None if self.retention_loss is None else round(self.retention_loss, 5),
            "retention_interval_95": None if low_high is None else [round(value, 5) for value in low_high],
            "balance": round(self.balance, 5),
        }


@dataclass(frozen=True)
class Goals:
    """What a checkpoint should reach; shares, 0 to 1."""

    recall: float = 0.95
    leakage: float = 0.02
    retention_loss: float = 0.05

    def met_by(self, scores: Scores) -> bool:
        """Whether all three are."""
        return (
            scores.recall >= self.recall
            and scores.leakage <= self.leakage
            and scores.retention_loss is not None
            and scores.retention_loss <= self.retention_loss
        )
