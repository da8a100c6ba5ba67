//! What happens to the bad replicas while the clients work: a good replica is asked all the time.

use super::stage::Stage;
use super::trick::{Expect, Trick};
use crate::cli::ask;
use crate::replica::{Place, Status, Why};
use crate::types::ReplicaId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The clients are at work when the processes die or stop.
const BEFORE: Duration = Duration::from_millis(200);
/// How long a story may take: waits of excluded replicas are seconds.
const LONGEST: Duration = Duration::from_secs(30);

/// Something that happened to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Since the clients began.
    pub(super) after: Duration,
    pub(super) replica: ReplicaId,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The process was killed or stopped.
    Fell,
    /// The process was started again or goes on.
    Rose,
    /// It is a member no longer; epoch and members without it.
    Out { why: Why, epoch: String, members: Vec<u8> },
    /// It is a member again.
    Back { epoch: String, members: Vec<u8> },
}

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) told: Vec<Told>,
    /// The places of all replicas as last heard.
    places: Vec<Place>,
}

impl Story {
    /// Follows what a good replica says. All were members when the cluster began.
    fn hear(&mut self, after: Duration, status: &Status) {
        let mut before = std::mem::replace(&mut self.places, status.standings.clone());
        before.resize(self.places.len(), Place { member: true, ..Place::default() });
        for (was, is) in before.iter().zip(&self.places) {
            let Some(replica) = ReplicaId::new(is.replica) else { continue };
            let (epoch, members) = (status.epoch.clone(), status.members.clone());
            let out = is.why.filter(|_| !is.member && (was.member || was.why != is.why));
            if let Some(why) = out {
                let what = What::Out { why, epoch, members };
                self.told.push(Told { after, replica, what });
            } else if is.member && !was.member {
                self.told.push(Told { after, replica, what: What::Back { epoch, members } });
            }
        }
    }

    fn tell(&mut self, after: Duration, bad: &[ReplicaId], what: &What) {
        let told = bad.iter().map(|r| Told { after, replica: *r, what: what.clone() });
        self.told.extend(told);
    }

    /// Why a replica was out the first time, and when.
    pub(super) fn out(&self, replica: ReplicaId) -> Option<(Why, Duration)> {
        self.told.iter().filter(|t| t.replica == replica).find_map(|t| match t.what {
            What::Out { why, .. } => Some((why, t.after)),
            _ => None,
        })
    }

    /// When it was killed or stopped.
    pub(super) fn fell(&self, replica: ReplicaId) -> Option<Duration> {
        let fell = |t: &&Told| t.replica == replica && t.what == What::Fell;
        self.told.iter().find(fell).map(|t| t.after)
    }

    /// When it was a member again after that.
    pub(super) fn back(&self, replica: ReplicaId) -> Option<Duration> {
        let (_, out) = self.out(replica)?;
        let mut later = self.told.iter().filter(|t| t.replica == replica && t.after >= out);
        later.find_map(|t| matches!(t.what, What::Back { .. }).then_some(t.after))
    }

    /// Whether it has come to its end, as far as one bad replica goes.
    fn is_over(&self, expect: Expect, replica: ReplicaId) -> bool {
        match expect {
            Expect::Expelled => self.out(replica).is_some_and(|(why, _)| why == Why::Lied),
            Expect::Excluded => self.out(replica).is_some(),
            Expect::Away => self.back(replica).is_some(),
            Expect::Dissent | Expect::Silence | Expect::Noticed(_) | Expect::Nothing => true,
        }
    }
}

/// Directs the bad replicas and writes down what comes of it. Sets `over` when the story has come
/// to its end or takes too long; ends only when a replica ends against the script, and gives it.
pub(super) async fn direct(
    stage: &mut Stage,
    trick: Trick,
    story: &mut Story,
    over: &Arc<AtomicBool>,
) -> anyhow::Result<ReplicaId> {
    let began = Instant::now();
    let bad = stage.bad();
    let good = stage.cluster.replicas[0].admin;
    let (mut fell, mut rose) = (false, false);
    loop {
        if let Some(id) = stage.ended() {
            return Ok(id);
        }
        let asked = tokio::time::timeout(PATIENCE, ask::status(good)).await;
        let after = began.elapsed();
        if let Ok(Ok(status)) = asked {
            story.hear(after, &status);
        }
        match trick {
            Trick::Lie(_) => {}
            Trick::Crash | Trick::Stop => {
                if !fell && after >= BEFORE {
                    bad.iter().try_for_each(|id| stage.fell(*id, trick))?;
                    story.tell(after, &bad, &What::Fell);
                    fell = true;
                } else if fell && !rose && bad.iter().all(|id| story.out(*id).is_some()) {
                    bad.iter().try_for_each(|id| stage.rise(*id, trick))?;
                    story.tell(after, &bad, &What::Rose);
                    rose = true;
                }
            }
        }
        let ended = bad.iter().all(|id| story.is_over(trick.expect(), *id));
        if ended || after > LONGEST {
            over.store(true, Ordering::Relaxed);
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(why: Option<Why>, epoch: &str) -> Status {
        let place = Place { replica: 3, member: why.is_none(), why, ..Place::default() };
        let member = |replica| Place { replica, member: true, ..Place::default() };
        let standings = vec![member(1), member(2), place];
        Status { standings, epoch: epoch.to_owned(), ..Status::default() }
    }

    #[test]
    fn a_story_is_told_once_and_ends_where_it_should() {
        let (mut story, ms) = (Story::default(), Duration::from_millis);
        let three = ReplicaId::new(3).unwrap();
        story.hear(ms(1), &status(None, "(0,0,0)"));
        story.hear(ms(2), &status(None, "(0,0,0)"));
        assert!(story.told.is_empty() && !story.is_over(Expect::Away, three));
        assert!(story.is_over(Expect::Nothing, three));
        story.hear(ms(3), &status(Some(Why::Silent), "(0,0,1)"));
        story.hear(ms(4), &status(Some(Why::Silent), "(0,0,1)"));
        assert_eq!(story.out(three), Some((Why::Silent, ms(3))));
        assert!(!story.is_over(Expect::Expelled, three) && !story.is_over(Expect::Away, three));
        story.hear(ms(9), &status(None, "(1,0,0)"));
        assert_eq!((story.told.len(), story.back(three)), (2, Some(ms(9))));
        assert!(story.is_over(Expect::Away, three));

        let mut story = Story::default();
        story.hear(ms(1), &status(None, "(0,0,0)"));
        story.hear(ms(2), &status(Some(Why::Lied), "(0,0,1)"));
        assert!(story.is_over(Expect::Expelled, three) && !story.is_over(Expect::Away, three));
    }
}
