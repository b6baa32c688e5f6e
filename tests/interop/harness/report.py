"""What a suite reported."""

import dataclasses


@dataclasses.dataclass
class Report:
    """The results of one suite, by test name; reasons go with failures and skips."""

    suite: str
    passed: list = dataclasses.field(default_factory=list)
    failed: list = dataclasses.field(default_factory=list)
    skipped: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def passes(self, name):
        """Records a passed test."""
        self.passed.append(name)

    def fails(self, name, reason):
        """Records a failed test."""
        self.failed.append((name, reason))

    def skips(self, name, reason):
        """Records a skipped test."""
        self.skipped.append((name, reason))

    def line(self):
        """One line for the summary."""
        return (
            f"{self.suite:<27} {len(self.passed):>4} passed {len(self.failed):>4} failed "
            f"{len(self.skipped):>4} skipped  {self.seconds:6.1f} s"
        )
