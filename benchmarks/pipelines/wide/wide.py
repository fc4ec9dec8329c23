"""A root over ``n`` leaves, each of which may sleep: what the benchmarks resolve and run."""

import time

import luigi


class Leaf(luigi.Task):
    n = luigi.IntParameter()
    milliseconds = luigi.IntParameter(default=0)

    def output(self):
        return luigi.LocalTarget(f"leaf-{self.n}.txt")

    def run(self):
        time.sleep(self.milliseconds / 1000)
        with self.output().open("w") as file:
            file.write(str(self.n))


class Wide(luigi.Task):
    n = luigi.IntParameter(default=10)
    milliseconds = luigi.IntParameter(default=0)

    def requires(self):
        return [Leaf(n=i, milliseconds=self.milliseconds) for i in range(self.n - 1)]

    def output(self):
        return luigi.LocalTarget("wide.txt")

    def run(self):
        with self.output().open("w") as file:
            file.write(str(self.n))
