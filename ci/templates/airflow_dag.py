"""Airflow: a DAG that gates a release on a board.

A code other than 0 fails the task, so nothing downstream of it runs. When it passes, the last line on stdout, one line of JSON, is its XCom;
when it fails, the same line is the last in the task's log. Needs Airflow 2.8 or later, with a worker that reaches the board. Start it with
the configuration {"project": "/path/of/the/project"}.
"""

from datetime import datetime, timedelta

from airflow import DAG

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # before Airflow 3
    from airflow.operators.bash import BashOperator

with DAG(
    dag_id="boardproof",
    start_date=datetime(2026, 1, 1),
    schedule=None,
    catchup=False,
    # One run per board at a time; boardproof holds a lease too, this only saves the waiting.
    max_active_runs=1,
) as dag:
    check = BashOperator(
        task_id="check",
        # A run that is cleared and started again has the same id: check.sh removes what it left before.
        bash_command="ci/templates/check.sh boardproof-out/{{ run_id | replace(':', '_') }}",
        cwd="{{ dag_run.conf['project'] }}",
        # A verdict does not change by asking again; retries after a fault are boardproof's own, bounded and in the record.
        retries=0,
        execution_timeout=timedelta(minutes=60),
        do_xcom_push=True,
    )
