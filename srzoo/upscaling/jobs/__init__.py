"""Many images as one job that never loses work: what to do, what was made, and doing it."""

from srzoo.upscaling.jobs.checking import Decision as Decision
from srzoo.upscaling.jobs.checking import Rules as Rules
from srzoo.upscaling.jobs.checking import decide as decide
from srzoo.upscaling.jobs.checking import prepare_folders as prepare_folders
from srzoo.upscaling.jobs.journal import Journal as Journal
from srzoo.upscaling.jobs.journal import digest_of as digest_of
from srzoo.upscaling.jobs.naming import Naming as Naming
from srzoo.upscaling.jobs.outcome import Outcome as Outcome
from srzoo.upscaling.jobs.outcome import Summary as Summary
from srzoo.upscaling.jobs.outcome import summarize as summarize
from srzoo.upscaling.jobs.planning import Job as Job
from srzoo.upscaling.jobs.planning import Plan as Plan
from srzoo.upscaling.jobs.planning import plan_jobs as plan_jobs
from srzoo.upscaling.jobs.planning import share_jobs as share_jobs
from srzoo.upscaling.jobs.running import JobsStopped as JobsStopped
from srzoo.upscaling.jobs.running import Listener as Listener
from srzoo.upscaling.jobs.running import Making as Making
from srzoo.upscaling.jobs.running import Streams as Streams
from srzoo.upscaling.jobs.running import run_jobs as run_jobs
