#!/usr/bin/env bash
# A real S3 server for tests: single-node Ceph with its RADOS gateway, memory-backed, on loopback only.
#   apt-get install -y --no-install-recommends ceph-mon ceph-osd ceph-mgr radosgw     (Debian packages, ~35 s)
#   ceph-rgw.sh up DIR [PORT]     starts it (~12 s) and prints the endpoint and keys;   ceph-rgw.sh down DIR   stops it
set -euo pipefail
verb=$1 dir=$2 port=${3:-7480}
conf=$dir/ceph.conf
if [[ $verb == down ]]; then
  for p in "$dir"/*.pid; do [[ -f $p ]] && kill "$(cat "$p")" 2>/dev/null || true; done
  exit 0
fi
mkdir -p "$dir"/{mon,mgr,osd,rgw}
fsid=$(cat /proc/sys/kernel/random/uuid) osd_uuid=$(cat /proc/sys/kernel/random/uuid)
mon_addr='[v2:127.0.0.1:3300,v1:127.0.0.1:6789]'
cat >"$conf" <<C
[global]
fsid = $fsid
mon host = $mon_addr
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
osd crush initial weight = 1
osd objectstore = memstore
memstore device bytes = 4294967296
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 0
ms bind ipv6 = false
run dir = $dir
log file = $dir/\$name.log
pid file = $dir/\$name.pid
admin socket = $dir/\$name.asok
mon cluster log file = $dir/cluster.log
mon data = $dir/mon
mgr data = $dir/mgr
osd data = $dir/osd
rgw data = $dir/rgw
keyring = $dir/keyring
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
C
export CEPH_CONF=$conf
monmaptool --create --addv a "$mon_addr" --fsid "$fsid" "$dir/monmap" >/dev/null
ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
for entity in client.admin client.rgw mgr.x osd.0; do
  ceph-authtool "$dir/keyring" --gen-key -n $entity --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
done
ceph-mon -c "$conf" --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
ceph-mon -c "$conf" -i a
ceph -c "$conf" auth import -i "$dir/keyring" 2>/dev/null
ceph-mgr -c "$conf" -i x
ceph -c "$conf" osd new "$osd_uuid" >/dev/null
ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd_uuid" 2>/dev/null
ceph-osd -c "$conf" -i 0 2>/dev/null
radosgw -c "$conf" -n client.rgw
for _ in $(seq 60); do
  curl -s -o /dev/null "http://127.0.0.1:$port" && up=yes && break
  sleep 1
done
[[ ${up:-no} == yes ]] || { echo "radosgw did not answer within 60 s; see $dir/*.log" >&2; exit 1; }
radosgw-admin -c "$conf" user create --uid=test --display-name=test --access-key=testkey --secret-key=testsecret >/dev/null 2>&1
echo "endpoint=http://127.0.0.1:$port access_key=testkey secret_key=testsecret"
