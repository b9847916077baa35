"""Compress every file under a folder into one archive, in the ways that only procession has.

    python examples/archive_streams.py FOLDER OUT.tar                     streams that end by themselves
    python examples/archive_streams.py FOLDER OUT.tar --way redelivery    workers may be killed at any time

The same work as archive.py, without sentinels: a queue ends when its last producer has left. With redelivery a file
that a killed worker had begun goes to another; `--kill` kills one worker after each ten files to show it.
"""

import argparse
import contextlib

from archive import compress, run

import procession


def until_the_end(tasks, results):
    """A worker: the stream of tasks ends, and so does its part of the results."""
    with results.producer():
        for path in tasks:
            results.put((path, *compress(path)))


def with_streams(files, archive, options):
    """Nobody counts anything: the loop ends when the last worker has left."""
    tasks, results = procession.Queue(), procession.Queue(64, producers=options.processes)
    workers = [
        procession.Process(target=until_the_end, args=(tasks, results)) for _ in range(options.processes)
    ]
    for worker in workers:
        worker.start()
    tasks.put_many(files)
    tasks.shutdown()
    for result in results:
        archive.add(*result)
    for worker in workers:
        worker.join()


def while_it_lives(tasks, results):
    """A worker: what it has taken and not finished is somebody else's when it dies."""
    with contextlib.suppress(procession.queues.ShutDown):
        while True:
            with tasks.taking() as path:
                results.put((path, *compress(path)))


def with_redelivery(files, archive, options):
    """Workers are replaced when they die; every file arrives, perhaps twice, which is once in the archive."""
    ctx = procession.get_context("forkserver")  # the progress bar's thread is no hindrance to it
    tasks, results = ctx.JoinableQueue(redeliver=True), ctx.Queue(64)
    tasks.put_many(files)
    tasks.shutdown()

    def hire():
        worker = ctx.Process(target=while_it_lives, args=(tasks, results))
        worker.start()
        return worker

    workers = [hire() for _ in range(options.processes)]
    done = 0
    while len(archive.names) < len(files):
        archive.add(*results.get())
        done += 1
        if options.kill and done % 10 == 0:
            workers[0].kill()  # of no effect on a worker that has left already
            workers[0].join()
            workers[0] = hire()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill", action="store_true", help="kill a worker after each ten files")
    run({"streams": with_streams, "redelivery": with_redelivery}, parser)
