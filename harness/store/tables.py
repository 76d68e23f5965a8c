"""The store's tables (SQLAlchemy Core). Their names start with `harness_`; `harness_meta` holds the schema version.

Optuna keeps its own tables, under other names, in the same database.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 2

metadata = MetaData()

meta = Table(
    "harness_meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False)
)

chunks = Table(
    "harness_chunks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(64), nullable=False, unique=True),  # SHA-256 of the four below; also the array file's name
    Column("fingerprint", String(64), nullable=False, index=True),
    Column("first_seed", BigInteger, nullable=False),
    Column("last_seed", BigInteger, nullable=False),
    Column("extractor", String(200), nullable=False),
    Column("status", String(16), nullable=False),  # claimed | done | failed
    Column("owner", String(200)),  # who claimed it
    Column("expires", Float),  # when the claim lapses, seconds since 1970
    Column("sha256", String(64)),  # of the array file
    Column("info", JSON),  # what the worker reports: nfe, evaluations, seconds, device, call shape, versions
    Column("reason", Text),
    Column("step", Integer),
    UniqueConstraint("fingerprint", "first_seed", "last_seed", "extractor"),
)

results = Table(
    "harness_results",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", String(64), nullable=False, index=True),
    Column("extractor", String(200), nullable=False),
    Column("reference", String(200), nullable=False),
    Column("first_seed", BigInteger, nullable=False),
    Column("n", Integer, nullable=False),
    Column("status", String(16), nullable=False),  # done | failed
    Column("reason", Text),
    Column("step", Integer),
    Column("metric", String(64), nullable=False),
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("replicates", JSON),  # the metric with each block of seeds left out
    Column("blocks", JSON),  # first seed of each block
    Column("details", JSON),  # of a measure: quantiles over samples, values by noise level, trajectories
    Column("nfe", Float),
    Column("nfe_min", Integer),
    Column("nfe_max", Integer),
    Column("evaluations", BigInteger),  # network rows really computed, padding included
    Column("seconds", Float),  # summed over workers
    Column("trial", JSON, nullable=False),
    Column("provenance", JSON, nullable=False),
    Column("finished_at", String(32), nullable=False),
    UniqueConstraint("fingerprint", "extractor", "reference", "first_seed", "n"),
)

grids = Table(
    "harness_grids",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("plan", JSON, nullable=False),
    Column("updated_at", String(32), nullable=False),
)

facts = Table(
    "harness_facts", metadata, Column("key", String(300), primary_key=True), Column("value", JSON, nullable=False)
)

images = Table(
    "harness_images",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("first_seed", BigInteger, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("png", LargeBinary, nullable=False),
)

studies = Table(
    "harness_studies",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("spec", JSON, nullable=False),  # what is searched, how; the same for as long as the study lives
    Column("record", JSON, nullable=False),  # what the report needs to know of it
    Column("budget", JSON),  # the largest that was asked for: trials, evaluations
    Column("finals", JSON),  # what is measured on fresh seeds at the end
    Column("mirror_owner", String(200)),  # who copies slots to Optuna's tables, one process at a time
    Column("mirror_expires", Float),  # when that claim lapses, seconds since 1970
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
)

slots = Table(
    "harness_slots",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", String(200), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("status", String(16), nullable=False),  # running | done | pruned | failed
    Column("origin", String(200), nullable=False),  # suggested, or the name under which the target enqueues it
    Column("params", JSON),  # the sampler's coordinates, as Optuna knows them
    Column("settings", JSON),  # the same in the axes' own terms
    Column("trial", JSON),
    Column("fingerprint", String(64)),
    Column("nfe", Integer),
    Column("twin", Integer),  # an earlier slot with the same settings
    Column("rival", Integer),  # the slot that it is compared with
    Column("held", Integer, nullable=False, default=0),  # seeds that the store had already
    Column("rungs", JSON),  # what was measured: n, value, interval, replicates, difference from the rival
    Column("value", Float),  # at the last rung that was measured
    Column("reason", Text),
    Column("step", Integer),
    Column("evaluations", BigInteger, nullable=False, default=0),  # network evaluations that it cost the study
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    UniqueConstraint("study", "number"),
)
