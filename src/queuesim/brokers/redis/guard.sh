# Sees to it that a private server and its files don't outlive their owner, however that one ends.
#
#   sh guard.sh DIRECTORY
#
# The owner, and whatever it forked, holds this script's standard input open. Each line names the process that is the
# server now, or none. At the line "end", or once all holders are gone, killed or not, the server goes and its files too.
server=
while read -r line && [ "$line" != end ]; do server=$line; done
[ -z "$server" ] || kill -KILL "$server" 2>/dev/null
rm -rf "$1"
