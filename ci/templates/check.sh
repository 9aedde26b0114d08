#!/bin/sh
# What every template here runs: check, render the reports, say the verdict in one line of JSON, exit with check's own code.
#
#   check.sh OUT [ARGUMENTS OF boardproof check]
#
# OUT/record is the record, OUT/report.{xml,md,html} are the reports. The last line on stdout is JSON, all else goes to stderr.
# What an earlier run has left in OUT is removed first: a CI system that keeps its workspace must never show yesterday's reports.
# Exit: 0 pass, 1 fail, 2 wrong use, 3 inconclusive, 4 incomplete, 5 fault, 70 bug, 130 interrupted. Only 0 releases.
set -u

finish() {
    case $1 in
        0) verdict=pass ;;
        1) verdict=fail ;;
        2) verdict=wrong_use ;;
        3) verdict=inconclusive ;;
        4) verdict=incomplete ;;
        5) verdict=fault ;;
        130) verdict=interrupted ;;
        *) verdict=bug ;;
    esac
    printf '{"verdict":"%s","exit_code":%d}\n' "$verdict" "$1"
    exit "$1"
}

if [ $# -lt 1 ]; then
    echo "usage: check.sh OUT [ARGUMENTS OF boardproof check]" >&2
    finish 2
fi
out=$1
shift
mkdir -p "$out" || finish 5
rm -f "$out/report.xml" "$out/report.md" "$out/report.html" || finish 5
# Only what is a record: a folder of that name with anything else in it is not ours, and check refuses it.
if [ -f "$out/record/record.json" ]; then
    rm -rf "$out/record" || finish 5
fi

boardproof check --out "$out/record" "$@" >&2
code=$?

if [ ! -f "$out/record/record.json" ]; then
    if [ "$code" -eq 0 ]; then
        echo "error: check said pass and left no record" >&2
        finish 70
    fi
    finish "$code"
fi
# A report that could not be written takes a pass away: nobody could look at what passed.
for form in junit:xml markdown:md html:html; do
    boardproof report "$out/record" --format "${form%%:*}" --output "$out/report.${form#*:}" >&2
    rendered=$?
    if [ "$rendered" -ne 0 ] && [ "$code" -eq 0 ]; then
        code=5
    fi
done
finish "$code"
