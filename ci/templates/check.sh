#!/bin/sh
# What every template here runs: check, render the reports, say the verdict in one line of JSON, exit with check's own code.
#
#   check.sh OUT [ARGUMENTS OF boardproof check]
#
# OUT/record is the record, OUT/report.{xml,md,html} are the reports. The last line on stdout is JSON, all else goes to stderr.
# Exit: 0 pass, 1 fail, 2 wrong use, 3 inconclusive, 4 incomplete, 5 fault, 70 bug, 130 interrupted. Only 0 releases.
set -u

if [ $# -lt 1 ]; then
    echo "usage: check.sh OUT [ARGUMENTS OF boardproof check]" >&2
    exit 2
fi
out=$1
shift
mkdir -p "$out" || exit 5

boardproof check --out "$out/record" "$@" >&2
code=$?

# A report that could not be written takes a pass away: nobody could look at what passed.
for form in junit:xml markdown:md html:html; do
    if [ -f "$out/record/record.json" ]; then
        boardproof report "$out/record" --format "${form%%:*}" --output "$out/report.${form#*:}" >&2
        rendered=$?
        if [ "$rendered" -ne 0 ] && [ "$code" -eq 0 ]; then
            code=5
        fi
    elif [ "$code" -eq 0 ]; then
        echo "error: check said pass and left no record" >&2
        code=70
    fi
done

case $code in
    0) verdict=pass ;;
    1) verdict=fail ;;
    2) verdict=wrong_use ;;
    3) verdict=inconclusive ;;
    4) verdict=incomplete ;;
    5) verdict=fault ;;
    130) verdict=interrupted ;;
    *) verdict=bug ;;
esac
printf '{"verdict":"%s","exit_code":%d}\n' "$verdict" "$code"
exit "$code"
