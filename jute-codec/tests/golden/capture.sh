#!/bin/sh
# Captures the vectors of this directory anew from Apache ZooKeeper: needs java (11 or newer) and mvn.
# ZOOKEEPER_LIB, a directory with ZooKeeper's jars and those it needs, spares the download. With an argument, Capture
# or CaptureQuorum, only what that one writes. OLD_LIB, a directory with ZooKeeper's jars of release OLD_VERSION and those
# it needs: what servers of that release say to each other, and nothing else.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=${ZOOKEEPER_VERSION:-3.9.5}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if [ -z "${ZOOKEEPER_LIB:-}" ]; then
    ZOOKEEPER_LIB=$scratch/lib
    cat >"$scratch/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>golden</groupId><artifactId>golden</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>$version</version></dependency>
    <dependency><groupId>io.dropwizard.metrics</groupId><artifactId>metrics-core</artifactId><version>4.1.12.1</version></dependency>
    <dependency><groupId>org.xerial.snappy</groupId><artifactId>snappy-java</artifactId><version>1.1.10.5</version></dependency>
  </dependencies>
</project>
POM
    mvn -q -B -f "$scratch/pom.xml" dependency:copy-dependencies -DoutputDirectory="$ZOOKEEPER_LIB"
fi

javac -encoding UTF-8 -cp "$ZOOKEEPER_LIB/*" -d "$scratch/classes" "$here/Capture.java" "$here/CaptureQuorum.java" \
    "$here/CaptureSnapshot.java"
if [ -n "${OLD_LIB:-}" ]; then
    java -Dfile.encoding=UTF-8 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dservers="$OLD_LIB/*" \
        -Drelease="$OLD_VERSION" -cp "$scratch/classes:$ZOOKEEPER_LIB/*" CaptureQuorum "$here" "$scratch"
    exit
fi
for main in ${1:-Capture CaptureQuorum CaptureSnapshot}; do
    java -Dfile.encoding=UTF-8 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$scratch/classes:$ZOOKEEPER_LIB/*" "$main" "$here" "$scratch"
done
