"""The application of celeriac's workers."""

from tests.interop.subject import make_worker

from celeriac import Celeriac

app = make_worker(Celeriac)
