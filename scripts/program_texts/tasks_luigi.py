"""luigi's workers are processes."""

from pathlib import Path

import luigi


class Part(luigi.Task):
    """Writes a square."""

    number = luigi.IntParameter()

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(f"part-{self.number}.txt")

    def run(self) -> None:
        with self.output().open("w") as file:
            file.write(str(self.number**2))


class Total(luigi.Task):
    """Adds them."""

    def requires(self) -> list[Part]:
        return [Part(number=number) for number in range(4)]

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget("total.txt")

    def run(self) -> None:
        total = sum(int(Path(part.path).read_text()) for part in self.input())
        with self.output().open("w") as file:
            file.write(str(total))
