"""dask's scheduler over processes."""

import dask
import dask.bag


def double(number: int) -> int:
    return number * 2


if __name__ == "__main__":
    with dask.config.set(scheduler="processes", num_workers=2, **{"multiprocessing.context": None}):
        bag = dask.bag.from_sequence(range(12), npartitions=4)
        print(bag.map(double).sum().compute())
        print(sorted(bag.map(double).filter(lambda number: number % 3 == 0).compute()))
