"""Airflow: a DAG that gates a release on a board.

BashOperator pushes the last line on stdout as its XCom: check.sh makes that one line of JSON, so later tasks read the verdict from there.
A code other than 0 fails the task, so nothing downstream of it runs.
"""

from datetime import datetime, timedelta

from airflow import DAG
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
        # The trailing space keeps Airflow from taking a name that ends in .sh for a template file.
        bash_command="ci/templates/check.sh boardproof-out/{{ run_id | replace(':', '_') }} ",
        cwd="{{ dag_run.conf['project'] }}",
        # A verdict does not change by asking again; retries after a fault are boardproof's own, bounded and in the record.
        retries=0,
        execution_timeout=timedelta(minutes=60),
        do_xcom_push=True,
    )
