#!/usr/bin/env python3
"""Run CPython's own multiprocessing tests against a module that claims to be a
drop-in replacement for ``multiprocessing``.

    python run_cpython_suite.py --module procession --start-method fork
    python run_cpython_suite.py --module multiprocessing --start-method all --python 3.13 --json out.json
    python run_cpython_suite.py --module billiard --python path/to/venv/bin/python -k TestLock

The tests come out of the interpreter that runs them (Lib/test); nothing of
CPython is stored here.  At run time this script
 1. makes a throw-away directory with a copy of _test_multiprocessing.py,
    mp_fork_bomb.py, mp_preload.py and test_multiprocessing_main_handling.py in
    which the word ``multiprocessing`` (never test_multiprocessing_x or
    _multiprocessing) reads as the module under test, in an overlay package
    ``test`` whose __path__ goes on into the real Lib/test;
 2. makes a throw-away virtual environment whose .pth file puts that overlay
    first, so children started with -I or -E, and spawn and forkserver
    children, are redirected too;
 3. runs the tests class by class, each class in a process (session) of its
    own with a hard limit per test: a test over the limit is recorded as
    ``hang``, its process group is killed, and the class goes on after it.

Exit status: 0 when every *public* test that ran passed or was skipped or, with
--against FILE, when no public test got worse than in that file; 1 otherwise.
"""
import argparse, ast, collections, fnmatch, glob, json, os, re, select, shutil
import signal, subprocess, sys, tempfile, textwrap, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
METHODS = ('fork', 'spawn', 'forkserver')
KINDS = ('processes', 'threads', 'manager', 'misc', 'main')
GOOD = ('pass', 'skip')
WORD = re.compile(r'(?<![\w\-])multiprocessing(?!\w)')

# ---------------------------------------------------------------- overlay --

def rewrite(text, module):
    """The one modification: the name of the module under test."""
    if module == 'multiprocessing':
        return text
    # Message texts are not module names: accept either wording.
    keep = 'unclosed running multiprocessing pool'
    text = text.replace(keep, '\0')
    text = WORD.sub(module, text)
    return text.replace('\0', 'unclosed running (?:multiprocessing|%s) pool' % module)


def module_level_names(text, root='multiprocessing'):
    """Dotted names below `root` that the file needs merely to be imported."""
    need, subs, alias = set(), set(), {root: ()}
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == root and node.col_offset in (0, 4):
            for a in node.names:
                alias[a.asname or a.name] = (a.name,)

    def chain(node):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id in alias:
            return alias[node.id] + tuple(reversed(parts))

    def visit(node, guarded):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for d in getattr(node, 'decorator_list', []):
                visit(d, guarded)
            return
        if isinstance(node, ast.Try):
            for c in node.body:
                visit(c, True)
            for c in node.handlers + node.orelse + node.finalbody:
                visit(c, guarded)
            return
        if isinstance(node, ast.Import) and not guarded:
            for a in node.names:
                if a.name.startswith(root + '.'):
                    subs.add(a.name[len(root) + 1:])
        if isinstance(node, ast.ImportFrom) and not guarded and node.module:
            if node.module == root:
                need.update((a.name,) for a in node.names)
            elif node.module.startswith(root + '.'):
                sub = node.module[len(root) + 1:]
                subs.add(sub)
                need.update((sub, a.name) for a in node.names)
        if isinstance(node, ast.Attribute):
            c = chain(node)
            if c:
                need.add(c)
        for c in ast.iter_child_nodes(node):
            visit(c, guarded)
    visit(tree, False)
    return sorted(subs), sorted(need)


LENIENT = '''\
"""Names the test file needs merely to be imported and the module under test
lacks become objects that raise when used: one missing name then fails the tests
that use it, not the whole file."""
import importlib, sys, types

MISSING = []

class _Meta(type):
    def __call__(cls, *a, **k):
        if cls.__dict__.get('_stub'):
            raise NotImplementedError('%s is missing' % cls._stub)
        return type.__call__(cls, *a, **k)

def stub(name):
    MISSING.append(name)
    # a class, so that it can also be a base class or an exception
    return _Meta(name.rpartition('.')[2], (Exception,),
                 {'_stub': name, '__module__': 'conf_missing'})

def fill(root, subs, need):
    base = importlib.import_module(root)
    def sub(name, create):
        full = root + '.' + name
        try:
            return importlib.import_module(full)
        except ImportError:
            obj = base
            try:
                for p in name.split('.'):
                    obj = getattr(obj, p)
                return obj
            except AttributeError:
                pass
            if not create:
                return None
        MISSING.append(full)
        m = types.ModuleType(full)
        sys.modules[full] = m
        setattr(base, name, m)
        return m
    for s in subs:
        sub(s, True)
    for chain in need:
        if len(chain) == 1:
            if not hasattr(base, chain[0]) and sub(chain[0], False) is None:
                setattr(base, chain[0], stub(root + '.' + chain[0]))
        else:
            try:
                m = getattr(base, chain[0])
            except AttributeError:
                m = sub(chain[0], False)
            if m is None or isinstance(m, _Meta):
                continue
            if not hasattr(m, chain[1]):
                try:
                    setattr(m, chain[1], stub('.'.join((root,) + chain[:2])))
                except (AttributeError, TypeError):
                    pass
'''

SHARD = r'''
import faulthandler, importlib, json, os, sys, time, traceback, unittest
faulthandler.enable()

import conf_kinds

def flavours(sm):
    return {k: v.replace('%s', sm) for k, v in conf_kinds.KINDS.items()}

def list_tests(sm, kinds):
    out = {}
    for kind in kinds or conf_kinds.KINDS:
        mod = importlib.import_module(flavours(sm)[kind])
        for name in sorted(vars(mod)):
            cls = vars(mod)[name]
            if not (isinstance(cls, type) and issubclass(cls, unittest.TestCase)):
                continue
            if kind == 'main' and getattr(cls, 'start_method', None) != sm:
                continue
            if conf_kinds.CTX_ONLY and getattr(cls, 'ctx', None) != sm:
                continue
            tests = unittest.defaultTestLoader.getTestCaseNames(cls)
            if tests:
                out['%s/%s' % (kind, name)] = list(tests)
    conf = sys.modules.get('conf_lenient')
    return {'tests': out, 'missing': conf.MISSING if conf else []}

class Result(unittest.TestResult):
    def __init__(self, path):
        super().__init__()
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # out of the way of tests that count or close low descriptors
        import fcntl
        fd = fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, 60)
        os.close(self.fd)
        self.fd, self.pid = fd, os.getpid()
    def emit(self, *ev):
        if os.getpid() == self.pid:
            os.write(self.fd, (json.dumps(ev) + '\n').encode())
    def name(self, test):
        return getattr(test, '_testMethodName', str(test))
    def startTest(self, test):
        super().startTest(test)
        self.bad = None
        self.t0 = time.monotonic()
        self.emit('start', self.name(test))
    def stopTest(self, test):
        super().stopTest(test)
        kind, msg = self.bad or ('pass', '')
        self.emit('end', self.name(test), kind, round(time.monotonic() - self.t0, 3), msg)
    def note(self, kind, err):
        msg = ''.join(traceback.format_exception(*err))[-3000:]
        if self.bad is None or self.bad[0] == 'skip':
            self.bad = (kind, msg)
    def addFailure(self, test, err):
        self.note('fail', err)
    def addError(self, test, err):
        if not hasattr(test, '_testMethodName'):        # setUpClass and the like
            self.emit('fixture', str(test), 'error', ''.join(traceback.format_exception(*err))[-3000:])
        else:
            self.note('error', err)
    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.note('fail' if issubclass(err[0], test.failureException) else 'error', err)
    def addSkip(self, test, reason):
        if not hasattr(test, '_testMethodName'):
            self.emit('fixture', str(test), 'skip', str(reason))
        elif self.bad is None:
            self.bad = ('skip', str(reason))
    def addExpectedFailure(self, test, err):
        pass
    def addUnexpectedSuccess(self, test):
        self.bad = ('fail', 'unexpected success')

def main():
    job = json.loads(sys.argv[1])
    if 'list' in job:
        with open(job['out'], 'w') as f:
            json.dump(list_tests(job['sm'], job['list']), f)
        return
    kind, name = job['cls'].split('/')
    mod = importlib.import_module(flavours(job['sm'])[kind])
    under = sys.modules[job['module']]
    res = Result(job['out'])
    res.emit('module', job['module'], getattr(under, '__file__', None), mod.__file__)
    cls = getattr(mod, name)
    suite = unittest.defaultTestLoader.suiteClass([cls(t) for t in job['tests']])
    suite.run(res)
    from test import support
    res.emit('done', bool(support.environment_altered))

if __name__ == '__main__':
    main()
'''


def run_json(cmd, **kw):
    return json.loads(subprocess.check_output(cmd, text=True, **kw))


def find_python(spec):
    if spec is None:
        return sys.executable
    if os.sep in spec:
        return os.path.abspath(spec)
    roots = [os.environ.get('PYENV_ROOT'), os.path.expanduser('~/.pyenv')]
    for r in roots:
        if r:
            hits = sorted(glob.glob(os.path.join(r, 'versions', spec + '*', 'bin', 'python')))
            hits = [h for h in hits if re.search(r'/%s(\.\d+)?/bin' % re.escape(spec), h)]
            if hits:
                return hits[-1]
    hit = shutil.which('python' + spec) or shutil.which(spec)
    if not hit:
        sys.exit('no interpreter %r found' % spec)
    return hit


class Sandbox:
    """Overlay + virtual environment, both temporary."""

    def __init__(self, python, module, paths, lenient=True, keep=False, suite='mp', cf_tests=None, guard=None,
                 executor=False):
        self.module, self.keep, self.suite = module, keep, suite
        self.dir = tempfile.mkdtemp(prefix='cf', dir='/tmp')
        env = {k: v for k, v in os.environ.items()
               if k not in ('PYTHONPATH', 'PYTHONHOME', 'PYTHONSTARTUP', 'PYTHONSAFEPATH')}
        self.env = env
        probe = ("import sys, json, site, os, sysconfig; print(json.dumps(dict("
                 "base=getattr(sys, '_base_executable', None) or sys.executable,"
                 "home=sys.base_exec_prefix, version=list(sys.version_info[:3]),"
                 "lib=os.path.dirname(os.__file__), sites=[p for p in sys.path if p.endswith('-packages')])))")
        info = run_json([python, '-c', probe], env=env)
        self.version = '%d.%d' % tuple(info['version'][:2])
        self.full_version = '%d.%d.%d' % tuple(info['version'])
        real = os.path.join(info['lib'], 'test')
        if not os.path.exists(os.path.join(real, '_test_multiprocessing.py')):
            sys.exit('%s has no Lib/test/_test_multiprocessing.py (Debian: install libpython%s-testsuite)'
                     % (python, self.version))
        self.real = real
        # venv by hand: fast, and no pip
        venv = os.path.join(self.dir, 'v')
        site = os.path.join(venv, 'lib', 'python' + self.version, 'site-packages')
        os.makedirs(site)
        os.makedirs(os.path.join(venv, 'bin'))
        base = os.path.realpath(info['base'])
        self.python = os.path.join(venv, 'bin', 'python')
        os.symlink(base, self.python)
        with open(os.path.join(venv, 'pyvenv.cfg'), 'w') as f:
            f.write('home = %s\ninclude-system-site-packages = false\nversion = %s\n'
                    % (os.path.dirname(base), self.full_version))
        over = self.over = os.path.join(self.dir, 'o')
        extra = [os.path.abspath(p) for p in paths]
        with open(os.path.join(site, 'zz_conformance.pth'), 'w') as f:
            f.write('import sys; sys.path.insert(0, %r)\n' % over)
            if guard:
                f.write('import conf_guard\n')
            for p in extra:
                f.write('import sys; sys.path.insert(1, %r)\n' % p)
            for p in info['sites']:
                f.write('import site; site.addsitedir(%r)\n' % p)
        # overlay
        t = os.path.join(over, 'test')
        os.makedirs(t)
        self.write('test/__init__.py', '__path__.append(%r)\n' % real)
        if guard:
            with open(guard, encoding='utf-8') as f:
                self.write('conf_guard.py', f.read())
        if suite == 'cf':
            self.fill_cf(module, cf_tests or os.path.join(real, 'test_concurrent_futures'), lenient, executor)
        else:
            self.fill_mp(module, extra, info['sites'], lenient)
        self.write('confshard/__init__.py', '')
        self.write('confshard/__main__.py', SHARD)
        subprocess.run([self.python, '-m', 'compileall', '-q', over], env=env,
                       stdout=subprocess.DEVNULL)
        code = 'import %s as m; print(getattr(m, "__version__", "?"), getattr(m, "__file__", "?"))' % module
        r = subprocess.run([self.python, '-c', code], env=env, capture_output=True, text=True, cwd=self.dir)
        if r.returncode:
            sys.exit('cannot import %s with %s:\n%s' % (module, python, r.stderr))
        self.module_version, _, self.module_file = r.stdout.strip().partition(' ')

    def fill_mp(self, module, extra, sites, lenient):
        src = self.read('_test_multiprocessing.py')
        subs, need = module_level_names(src)
        new = rewrite(src, module)
        # the one test that starts a python with -S, where no .pth is read
        new = new.replace('from test._test_multiprocessing import TestFlags; ',
                          'import sys; sys.path.insert(0, "%s"); import conf_path; '
                          'from test._test_multiprocessing import TestFlags; ' % self.over)
        self.write('conf_path.py', 'import sys\nsys.path[1:1] = %r\nsys.path += %r\n' % (extra, sites))
        if lenient and module != 'multiprocessing':
            self.write('conf_lenient.py', LENIENT)
            new = ('import conf_lenient; conf_lenient.fill(%r, %r, %r)\n' % (module, subs, need)) + new
        self.write('test/_test_multiprocessing.py', new)
        for f in ('mp_fork_bomb.py', 'mp_preload.py', 'test_multiprocessing_main_handling.py'):
            if os.path.exists(os.path.join(self.real, f)):
                self.write('test/' + f, rewrite(self.read(f), module))
        for sm in METHODS:      # as CPython >= 3.11.5 lays them out; some installs lack these
            pkg = 'test/test_multiprocessing_%s/' % sm
            self.write(pkg + '__init__.py', '')
            for kind, arg in (('processes', "only_type='processes'"), ('threads', "only_type='threads'"),
                              ('manager', "only_type='manager'"), ('misc', 'exclude_types=True')):
                self.write(pkg + 'test_%s.py' % kind,
                           'import unittest\nfrom test._test_multiprocessing import install_tests_in_module_dict\n'
                           'install_tests_in_module_dict(globals(), %r, %s)\n' % (sm, arg))
        p = 'test.test_multiprocessing_%s.test_'
        kinds = {k: p + k for k in KINDS if k != 'main'}
        kinds['main'] = 'test.test_multiprocessing_main_handling'
        self.write('conf_kinds.py', 'CTX_ONLY = False\nKINDS = %r\n' % kinds)

    def fill_cf(self, module, where, lenient, executor):
        """CPython's test_concurrent_futures, its contexts (and executor) made by the module under test."""
        kinds = {}
        shim = ('import conf_lenient; conf_lenient.fill(%r, ["util", "process"], [("util", "_cleanup_tests")])\n' % module
                if lenient and module != 'multiprocessing' else '')
        if shim:
            self.write('conf_lenient.py', LENIENT)
        if executor:
            self.write('conf_executor.py', 'from %s.futures import ProcessPoolExecutor\n' % module)
            shim += 'import conf_executor\n'

        def adapt(text):
            text = rewrite(text, module)
            if executor:
                text = text.replace('futures.ProcessPoolExecutor', 'conf_executor.ProcessPoolExecutor')
                text = text.replace('from concurrent.futures import {executor_type}',
                                    'from %s.futures import {executor_type}' % module)
            return shim + text

        if os.path.isdir(where):
            for f in sorted(os.listdir(where)):
                if f.endswith('.py'):
                    with open(os.path.join(where, f), encoding='utf-8') as h:
                        self.write('test/test_concurrent_futures/' + f, adapt(h.read()))
                    if f.startswith('test_'):
                        kinds[f[5:-3]] = 'test.test_concurrent_futures.' + f[:-3]
        else:
            where = where if where.endswith('.py') else where + '.py'
            if not os.path.exists(where):
                sys.exit('this interpreter was installed without test_concurrent_futures: give --cf-tests')
            with open(where, encoding='utf-8') as h:
                self.write('test/test_concurrent_futures.py', adapt(h.read()))
            kinds['all'] = 'test.test_concurrent_futures'
        self.write('conf_kinds.py', 'CTX_ONLY = True\nKINDS = %r\n' % kinds)

    def read(self, name):
        with open(os.path.join(self.real, name), encoding='utf-8') as f:
            return f.read()

    def write(self, name, text):
        path = os.path.join(self.over, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)

    def close(self):
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)


# ----------------------------------------------------------------- running --

def session_pids(sid):
    pids = []
    for d in os.listdir('/proc'):
        if d.isdigit():
            try:
                with open('/proc/%s/stat' % d) as f:
                    rest = f.read().rpartition(')')[2].split()
                if int(rest[3]) == sid and rest[0] != 'Z':
                    pids.append(int(d))
            except (OSError, IndexError, ValueError):
                pass
    return pids


def kill_session(sid):
    """Everything of the one session that this script started."""
    for _ in range(20):
        pids = session_pids(sid)
        if not pids:
            return
        for p in pids:
            try:
                os.kill(p, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.05)


class Runner:
    def __init__(self, sb, sm, limit, max_hangs, logs):
        self.sb, self.sm, self.limit, self.max_hangs, self.logs = sb, sm, limit, max_hangs, logs
        self.results, self.lock, self.notes = {}, threading.Lock(), []
        self.n = 0

    def start(self, job, tag):
        with self.lock:
            self.n += 1
            n = self.n
        wd = os.path.join(self.sb.dir, 'w-%s-%d' % (self.sm, n))
        os.makedirs(os.path.join(wd, 't'))
        job['out'] = os.path.join(self.sb.dir, 'e-%s-%d' % (self.sm, n))
        log = open(os.path.join(self.logs or self.sb.dir, 'log-%s-%s-%d.txt' % (self.sm, tag.replace('/', '.'), n)), 'w+b')
        env = dict(self.sb.env, TMPDIR=os.path.join(wd, 't'), TEMP=os.path.join(wd, 't'))
        p = subprocess.Popen([self.sb.python, '-m', 'confshard', json.dumps(job)], cwd=wd, env=env,
                             stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                             start_new_session=True)
        return p, log, wd

    def list(self, kinds):
        job = {'list': list(kinds), 'sm': self.sm}
        p, log, wd = self.start(job, 'list')
        try:
            p.wait(60)
        except subprocess.TimeoutExpired:
            pass
        kill_session(p.pid)
        p.wait()
        try:
            with open(job['out']) as f:
                return json.load(f)
        except (OSError, ValueError):
            log.seek(0)
            sys.exit('the test file cannot be imported with %s:\n%s'
                     % (self.sb.module, log.read().decode(errors='replace')[-3000:]))

    def record(self, cls, test, outcome, secs, msg):
        with self.lock:
            self.results['%s.%s' % (cls, test)] = [outcome, secs, msg]

    def run_class(self, cls, tests):
        todo, hangs = list(tests), 0
        while todo:
            if hangs >= self.max_hangs:
                for t in todo:
                    self.record(cls, t, 'hang', 0, 'not run: %d earlier tests of the class hung' % hangs)
                return
            job = {'sm': self.sm, 'cls': cls, 'tests': todo, 'module': self.sb.module}
            p, log, wd = self.start(job, cls)
            done, hung = self.watch(p, job, cls, todo, log)
            hangs += hung
            log.close()
            if not self.logs:
                os.unlink(log.name)
            shutil.rmtree(wd, ignore_errors=True)
            rest = [t for t in todo if t not in done]
            if len(rest) == len(todo):          # no progress: give up on the class
                for t in rest:
                    self.record(cls, t, 'error', 0, 'never started')
                return
            todo = rest

    def watch(self, p, job, cls, todo, log):
        done, current, since, pos, buf = set(), None, time.monotonic(), 0, b''
        fixture, finished, hung = None, False, 0
        leftovers = []

        def drain():
            nonlocal pos, buf, current, since, fixture, finished
            try:
                with open(job['out'], 'rb') as f:
                    f.seek(pos)
                    data = f.read()
            except OSError:
                return
            pos += len(data)
            buf += data
            *lines, buf = buf.split(b'\n')
            for line in lines:
                ev = json.loads(line)
                since = time.monotonic()
                if ev[0] == 'start':
                    current = ev[1]
                elif ev[0] == 'end':
                    self.record(cls, ev[1], ev[2], ev[3], ev[4])
                    done.add(ev[1])
                    current = None
                elif ev[0] == 'fixture':
                    fixture = fixture or ev[1:]         # the first is the reason
                elif ev[0] == 'done':
                    finished = True
                    if ev[1]:
                        self.notes.append('%s: environment altered (dangling processes or threads)' % cls)
                elif ev[0] == 'module':
                    self.where = ev[1:]

        while True:
            rc = p.poll()
            drain()
            if rc is not None:
                break
            # exit after the last test (joining of leftovers) has the limit too
            if time.monotonic() - since > self.limit:
                what = current or ('<exit>' if finished else '<fixture>')
                try:
                    os.kill(p.pid, signal.SIGABRT)      # faulthandler prints the stacks
                    p.wait(3)
                except (OSError, subprocess.TimeoutExpired):
                    pass
                kill_session(p.pid)
                p.wait()
                drain()
                log.flush(); log.seek(0)
                tail = log.read().decode(errors='replace')[-3000:]
                if current:
                    self.record(cls, current, 'hang', self.limit, 'over %g s\n%s' % (self.limit, tail))
                    done.add(current)
                    hung = 1
                elif finished:
                    self.notes.append('%s: interpreter did not exit within %g s' % (cls, self.limit))
                    done.update(todo)
                else:
                    for t in todo:
                        if t not in done:
                            self.record(cls, t, 'hang', self.limit, 'set-up or tear-down of class or module hung\n' + tail)
                            done.add(t)
                return done, hung
            time.sleep(0.02)
        # helpers (resource tracker, fork server) go by themselves; what stays is a leak
        end = time.monotonic() + 3
        while time.monotonic() < end:
            leftovers = session_pids(p.pid)
            if not leftovers:
                break
            time.sleep(0.05)
        if leftovers:
            self.notes.append('%s: %d processes outlived the test process by 3 s' % (cls, len(leftovers)))
            kill_session(p.pid)
        if current:
            log.flush(); log.seek(0)
            self.record(cls, current, 'crash', 0, 'process died with status %s\n%s'
                        % (rc, log.read().decode(errors='replace')[-3000:]))
            done.add(current)
        elif finished:
            kind, msg = (fixture[1], fixture[2]) if fixture else ('error', 'not run')
            for t in todo:
                if t not in done:
                    self.record(cls, t, kind, 0, msg)
                    done.add(t)
        elif not done:
            log.flush(); log.seek(0)
            tail = log.read().decode(errors='replace')[-3000:]
            for t in todo:
                self.record(cls, t, 'crash', 0, 'process died with status %s before any test\n%s' % (rc, tail))
                done.add(t)
        return done, hung


# ---------------------------------------------------------- classification --

def load_classes(path):
    """Lines: CLASS<tab>PATTERN<tab>reason.  First match wins; default public."""
    rules = []
    if os.path.exists(path):
        with open(path) as f:
            for line in f:
                if line.strip() and not line.startswith('#'):
                    kind, pat, reason = line.rstrip('\n').split('\t', 2)
                    rules.append((kind, pat, reason))
    return rules


def classify(test, sm, rules):
    full = '%s/%s' % (sm, test)
    for kind, pat, reason in rules:
        if fnmatch.fnmatchcase(full, pat) or fnmatch.fnmatchcase(test, pat):
            return kind
    return 'public'


def tally(results, sm, rules):
    out = collections.OrderedDict()
    for t, r in sorted(results.items()):
        c = classify(t, sm, rules)
        out.setdefault(c, collections.Counter())[r[0]] += 1
    return out


def row(c):
    n = sum(c.values())
    return 'tests %4d  pass %4d  fail %3d  error %3d  hang %3d  crash %3d  skip %3d' % (
        n, c['pass'], c['fail'], c['error'], c['hang'], c['crash'], c['skip'])


def pick_shard(items, spec, weight):
    """i/n -> the i-th of n parts (from 1), heaviest first into the lightest part."""
    if not spec:
        return items
    i, n = map(int, spec.split('/'))
    parts = [[0, []] for _ in range(n)]
    for it in sorted(items, key=lambda it: (-weight(it), it[0])):
        part = min(parts, key=lambda p: p[0])
        part[0] += weight(it) + 0.5
        part[1].append(it)
    return parts[i - 1][1]


def run_method(args, sb, sm, rules):
    r = Runner(sb, sm, args.timeout_per_test, args.max_hangs, args.logs)
    listing = r.list(args.kinds)
    classes = {}
    for cls, tests in listing['tests'].items():
        keep = []
        for t in tests:
            tid = '%s.%s' % (cls, t)
            if args.k and not any(p in '%s/%s' % (sm, tid) or fnmatch.fnmatchcase(tid, p) for p in args.k):
                continue
            if args.deselect and any(fnmatch.fnmatchcase(tid, p) for p in args.deselect):
                continue
            if args.public and classify(tid, sm, rules) != 'public':
                continue
            keep.append(t)
        if keep:
            classes[cls] = keep
    times = {}
    bl = baseline_path('multiprocessing', sb.version, sb.suite)
    if os.path.exists(bl):
        with open(bl) as f:
            times = {k: v[1] for k, v in json.load(f)['methods'].get(sm, {}).items()}
    weight = lambda it: sum(times.get('%s.%s' % (it[0], t), 0.2) for t in it[1])
    # long classes in parts, so that two workers end together
    items = []
    for cls, tests in classes.items():
        if args.isolate:
            items += [(cls, [t]) for t in tests]
        else:
            items.append((cls, tests))
    items = pick_shard(items, args.shard, weight)
    items.sort(key=weight, reverse=True)
    if args.list:
        for cls, tests in items:
            for t in tests:
                tid = '%s.%s' % (cls, t)
                print('%s/%s\t%s' % (sm, tid, classify(tid, sm, rules)))
        return None
    t0 = time.monotonic()
    queue = collections.deque(items)

    def worker():
        while True:
            try:
                cls, tests = queue.popleft()
            except IndexError:
                return
            r.run_class(cls, tests)
    ws = [threading.Thread(target=worker) for _ in range(min(args.jobs, 2))]
    for w in ws: w.start()
    for w in ws: w.join()
    flaky = {}
    for _ in range(args.retries):
        bad = [t for t, v in r.results.items() if v[0] not in GOOD]
        for tid in bad:
            was = r.results[tid]
            cls, _, t = tid.rpartition('.')
            r.run_class(cls, [t])
            if r.results[tid][0] in GOOD:
                flaky[tid] = was[0]
    return dict(results=r.results, wall=round(time.monotonic() - t0, 1), notes=sorted(r.notes),
                missing=listing['missing'], flaky=flaky)


def baseline_path(module, version, suite='mp'):
    return os.path.join(HERE, 'baseline', '%s%s-%s.json' % (module, '' if suite == 'mp' else '-' + suite, version))


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--module', default='multiprocessing', help='dotted name of the module under test')
    ap.add_argument('--start-method', default='fork', choices=METHODS + ('all',))
    ap.add_argument('--python', help='3.11, 3.12, ... or a path (give the venv python that has the module)')
    ap.add_argument('--path', action='append', default=[], help='put first on sys.path (a source tree); repeatable')
    ap.add_argument('-k', action='append', help='only tests whose id contains this or matches this glob; repeatable')
    ap.add_argument('--deselect', action='append', help='leave out tests matching this glob; repeatable')
    ap.add_argument('--suite', default='mp', choices=('mp', 'cf'),
                    help='mp: test_multiprocessing_*; cf: test_concurrent_futures with mp_context of the module')
    ap.add_argument('--cf-tests', help="folder or file of test_concurrent_futures, where the interpreter's install lacks it")
    ap.add_argument('--executor', action='store_true', help="cf: the module's own ProcessPoolExecutor, too")
    ap.add_argument('--kinds', default=[], type=lambda s: s.split(','),
                    help='of processes,threads,manager,misc,main')
    ap.add_argument('--public', action='store_true', help='only the tests classified as public')
    ap.add_argument('--timeout-per-test', type=float, default=60)
    ap.add_argument('--max-hangs', type=int, default=4, help='after so many hangs the rest of a class counts as hung')
    ap.add_argument('--retries', type=int, default=0, help='rerun bad tests alone; good then = flaky')
    ap.add_argument('--isolate', action='store_true', help='a process per test, not per class')
    ap.add_argument('--jobs', type=int, default=2)
    ap.add_argument('--shard', help='i/n: run the i-th of n parts')
    ap.add_argument('--json', help='write outcomes here')
    ap.add_argument('--against', help='compare with this JSON (default: the stored stdlib baseline)')
    ap.add_argument('--save-baseline', action='store_true')
    ap.add_argument('--logs', help='keep output of the test processes in this folder')
    ap.add_argument('--strict-import', action='store_true', help='no stand-ins for missing names')
    ap.add_argument('--guard', help='a Python file that every process of the suite imports first')
    ap.add_argument('--list', action='store_true')
    ap.add_argument('-v', action='store_true', help='print the traceback of every bad test')
    ap.add_argument('--keep', action='store_true', help='keep the temporary directory')
    args = ap.parse_args(argv)
    # tests send SIGINT; a background job of a shell may have been started with it ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if args.logs:
        os.makedirs(args.logs, exist_ok=True)
        args.logs = os.path.abspath(args.logs)
    rules = load_classes(os.path.join(HERE, 'internals.txt'))
    sb = Sandbox(find_python(args.python), args.module, args.path, not args.strict_import, args.keep,
                 args.suite, args.cf_tests, args.guard, args.executor)
    out = {'module': args.module, 'module_version': sb.module_version, 'python': sb.full_version, 'methods': {},
           'wall': {}, 'notes': {}, 'missing': [], 'flaky': {}, 'messages': {}}
    bad_public = 0
    try:
        for sm in METHODS if args.start_method == 'all' else [args.start_method]:
            d = run_method(args, sb, sm, rules)
            if d is None:
                continue
            res = d['results']
            out['methods'][sm] = {t: r[:2] for t, r in sorted(res.items())}
            out['wall'][sm], out['notes'][sm], out['missing'] = d['wall'], d['notes'], d['missing']
            out['flaky'][sm] = d['flaky']
            out['messages'][sm] = {t: r[2] for t, r in sorted(res.items()) if r[0] not in GOOD and r[2]}
            print('== %s %s on Python %s, %s: %.0f s' % (args.module, sb.module_version, sb.full_version, sm, d['wall']))
            all_ = collections.Counter()
            tl = tally(res, sm, rules)
            for c, counts in tl.items():
                print('  %-9s %s' % (c, row(counts)))
                all_.update(counts)
            print('  %-9s %s' % ('all', row(all_)))
            pub = tl.get('public', collections.Counter())
            ran = sum(pub.values()) - pub['skip']
            print('  public: passed %d of %d (%.1f %%)' % (pub['pass'], ran, 100 * pub['pass'] / max(ran, 1)))
            for t, v in sorted(d['flaky'].items()):
                print('  flaky: %s (first %s)' % (t, v))
            for n in d['notes']:
                print('  note: ' + n)
            ref = args.against or baseline_path('multiprocessing', sb.version, sb.suite)
            base = {}
            if os.path.exists(ref):
                with open(ref) as f:
                    base = json.load(f)['methods'].get(sm, {})
            for c in ('public', 'hook', 'internal'):
                goal = [t for t in sorted(res) if base.get(t, [''])[0] == 'pass' and classify(t, sm, rules) == c]
                if goal:
                    got = sum(res[t][0] == 'pass' for t in goal)
                    print('  conformance, %s: passes %d of the %d that %s passes (%.1f %%)'
                          % (c, got, len(goal), os.path.basename(ref), 100 * got / len(goal)))
            worse = [t for t in sorted(res) if res[t][0] not in GOOD and base.get(t, ['pass'])[0] in GOOD]
            better = [t for t in sorted(res) if res[t][0] == 'pass' and base.get(t, ['pass'])[0] not in GOOD]
            newskip = [t for t in sorted(res) if res[t][0] == 'skip' and base.get(t, ['skip'])[0] == 'pass']
            for label, ts in (('worse', worse), ('skips where the baseline passes', newskip), ('better', better)):
                if base and ts:
                    print('  against %s, %s: %d' % (os.path.basename(ref), label, len(ts)))
                    for t in ts:
                        print('    %-5s %-8s %s' % (res[t][0], classify(t, sm, rules), t))
                        if args.v and res[t][2]:
                            print(textwrap.indent(res[t][2], ' ' * 8))
            if not base:
                for t in sorted(res):
                    if res[t][0] not in GOOD:
                        print('    %-5s %-8s %s' % (res[t][0], classify(t, sm, rules), t))
                        if args.v:
                            print(textwrap.indent(res[t][2], ' ' * 8))
            check = (worse + newskip) if base else [t for t in res if res[t][0] not in GOOD]
            bad_public += sum(1 for t in check if classify(t, sm, rules) == 'public')
            sys.stdout.flush()
        if out['missing']:
            print('missing names: ' + ', '.join(sorted(set(out['missing']))))
    finally:
        sb.close()
    if args.keep:
        print('kept: ' + sb.dir)
    if args.json:
        with open(args.json, 'w') as f:
            json.dump(out, f, indent=1)
    if args.save_baseline:
        p = baseline_path(args.module, sb.version, sb.suite)
        old = {'methods': {}, 'wall': {}}
        if os.path.exists(p):
            with open(p) as f:
                old = json.load(f)
        for k in ('methods', 'wall'):
            out[k] = {**old[k], **out[k]}
        keep = {k: out[k] for k in ('module', 'module_version', 'python', 'wall', 'methods')}
        with open(p, 'w') as f:
            text = json.dumps(keep, indent=0)
            text = re.sub(r'\[\n("\w+"),\n([\d.]+)\n\]', r'[\1, \2]', text)
            f.write(text + '\n')
    return 1 if bad_public else 0


if __name__ == '__main__':
    sys.exit(main())
